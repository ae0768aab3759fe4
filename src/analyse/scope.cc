#include "analyse/scope.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "analyse/spectrum.h"
#include "solve/solve.h"

namespace kvsplice::analyse {

namespace {

std::vector<double> shares(std::vector<double> eigenvalues) {
  double sum = 0;
  for (double& v : eigenvalues) sum += v = std::max(v, 0.0);
  for (double& v : eigenvalues) v = sum > 0 ? v / sum : 0;
  return eigenvalues;
}

// (x_a - m) . (x_b - m) for rows a of `left` and b of `right`, m the mean of the rows `centre`.
Matrix<double> centred_products(const Matrix<double>& gram, const std::vector<size_t>& left,
                                const std::vector<size_t>& right,
                                const std::vector<size_t>& centre) {
  std::vector<double> with_mean(gram.rows());  // x_a . m
  for (size_t a = 0; a < gram.rows(); ++a) {
    for (size_t c : centre) with_mean[a] += gram(a, c) / double(centre.size());
  }
  double mean_square = 0;  // m . m
  for (size_t c : centre) mean_square += with_mean[c] / double(centre.size());
  Matrix<double> result(left.size(), right.size());
  for (size_t i = 0; i < left.size(); ++i) {
    for (size_t j = 0; j < right.size(); ++j) {
      result(i, j) =
          gram(left[i], right[j]) - with_mean[left[i]] - with_mean[right[j]] + mean_square;
    }
  }
  return result;
}

}  // namespace

Rates rates(std::span<const double> variances, double energy) {
  Rates r;
  if (variances.empty() || energy <= 0) return r;
  r.gain = coding_gain(variances);
  for (size_t i = 0; i < r.bits.size(); ++i) {
    r.bits[i] = rate(variances, kDistortions[i] * energy / double(variances.size()));
  }
  return r;
}

std::vector<double> coordinate_variances(const Halves& halves) {
  const auto moment = halves.test.second_moment(halves.fit.mean());
  std::vector<double> variances(moment.rows());
  for (size_t i = 0; i < variances.size(); ++i) variances[i] = moment(i, i);
  return variances;
}

Result<std::vector<double>> klt_variances(const Halves& halves) {
  KVS_ASSIGN(const Eigen basis, symmetric_eigen(halves.fit.covariance()));
  const auto moment = halves.test.second_moment(halves.fit.mean());
  Matrix<double> turned(moment.rows(), moment.cols());
  gemm(Trans::no, Trans::no, 1.0, basis.vectors, moment, 0.0, turned);
  std::vector<double> variances(moment.rows());
  for (size_t i = 0; i < variances.size(); ++i) {
    for (size_t j = 0; j < moment.cols(); ++j) variances[i] += turned(i, j) * basis.vectors(i, j);
    variances[i] = std::max(variances[i], 0.0);
  }
  return variances;
}

Result<std::vector<double>> principal_shares(const Moments& moments) {
  KVS_ASSIGN(const Eigen basis, symmetric_eigen(moments.covariance()));
  return shares(basis.values);
}

void JointRows::add(MatrixView<const float> layer) {
  assert(layer.rows == rows());
  Matrix<double> x(layer.rows, layer.cols);
  double energy = 0;
  for (size_t r = 0; r < layer.rows; ++r) {
    for (size_t c = 0; c < layer.cols; ++c) {
      x(r, c) = layer(r, c);
      energy += x(r, c) * x(r, c);
    }
  }
  width_ += layer.cols;
  if (energy <= 0) return;
  gemm(Trans::no, Trans::yes, double(x.size()) / energy, x, x, 1.0, gram_);
}

double JointRows::energy() const {
  double trace = 0;
  for (size_t r = 0; r < rows(); ++r) trace += gram_(r, r);
  return trace / double(rows());
}

Result<std::vector<double>> JointRows::klt_variances(const std::vector<bool>& in_fit) const {
  std::vector<size_t> fit, test;
  for (size_t r = 0; r < rows(); ++r) (in_fit[r] ? fit : test).push_back(r);
  assert(!fit.empty() && !test.empty());
  KVS_ASSIGN(const Eigen basis, symmetric_eigen(centred_products(gram_, fit, fit, fit)));
  const auto cross = centred_products(gram_, test, fit, fit);
  Matrix<double> coefficients(test.size(), fit.size());
  gemm(Trans::no, Trans::yes, 1.0, cross, basis.vectors, 0.0, coefficients);

  // Axis i is sum_f vectors(i, f) x_f / sqrt(values[i]); values near 0 belong to no axis.
  std::vector<double> variances;
  const double least = 1e-10 * std::max(basis.values[0], 0.0);
  for (size_t i = 0; i < fit.size() && variances.size() < width_; ++i) {
    if (basis.values[i] <= least) break;
    double sum = 0;
    for (size_t t = 0; t < test.size(); ++t) sum += coefficients(t, i) * coefficients(t, i);
    variances.push_back(sum / basis.values[i] / double(test.size()));
  }
  double outside = 0;
  const auto squares = centred_products(gram_, test, test, fit);
  for (size_t t = 0; t < test.size(); ++t) outside += squares(t, t) / double(test.size());
  for (double v : variances) outside -= v;
  const double left = double(width_ - variances.size());
  variances.resize(width_, left > 0 ? std::max(outside, 0.0) / left : 0);
  return variances;
}

Result<std::vector<double>> JointRows::principal_shares() const {
  std::vector<size_t> all(rows());
  for (size_t r = 0; r < rows(); ++r) all[r] = r;
  KVS_ASSIGN(const Eigen basis, symmetric_eigen(centred_products(gram_, all, all, all)));
  auto result = shares(basis.values);
  result.resize(std::min(result.size(), width_));
  return result;
}

}  // namespace kvsplice::analyse
