#include "analyse/moments.h"

#include <cassert>

#include "solve/solve.h"

namespace kvsplice::analyse {

Moments::Moments(MatrixView<const float> rows)
    : count(rows.rows), sum(column_means(rows)), products(scatter(rows, {})) {
  for (double& s : sum) s *= double(count);
}

Moments& Moments::operator+=(const Moments& other) {
  if (sum.empty()) return *this = other;
  assert(width() == other.width());
  count += other.count;
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += other.sum[i];
  for (size_t i = 0; i < products.size(); ++i) products.flat()[i] += other.products.flat()[i];
  return *this;
}

Moments Moments::columns(size_t first, size_t n) const {
  Moments part;
  part.count = count;
  part.sum.assign(sum.begin() + first, sum.begin() + first + n);
  part.products = copy(products.view().row_range(first, n).col_range(first, n));
  return part;
}

std::vector<double> Moments::mean() const {
  std::vector<double> m(sum);
  for (double& v : m) v /= double(count);
  return m;
}

Matrix<double> Moments::second_moment(const std::vector<double>& centre) const {
  const auto own = mean();
  Matrix<double> result(width(), width());
  for (size_t i = 0; i < width(); ++i) {
    for (size_t j = 0; j < width(); ++j) {
      result(i, j) = products(i, j) / double(count) - centre[i] * own[j] - own[i] * centre[j] +
                     centre[i] * centre[j];
    }
  }
  return result;
}

double Moments::energy() const {
  double trace = 0;
  for (size_t i = 0; i < width(); ++i) trace += products(i, i);
  return trace / double(count);
}

double Moments::mean_share() const {
  double square = 0;
  for (double m : mean()) square += m * m;
  const double all = energy();
  return all > 0 ? square / all : 0;
}

double excess_kurtosis(MatrixView<const float> x) {
  const auto mean = column_means(x);
  double total = 0;
  size_t varying = 0;
  for (size_t c = 0; c < x.cols; ++c) {
    double second = 0, fourth = 0;
    for (size_t r = 0; r < x.rows; ++r) {
      const double square = (x(r, c) - mean[c]) * (x(r, c) - mean[c]);
      second += square;
      fourth += square * square;
    }
    if (second <= 0) continue;
    total += fourth * double(x.rows) / (second * second) - 3;
    ++varying;
  }
  return varying > 0 ? total / double(varying) : 0;
}

}  // namespace kvsplice::analyse
