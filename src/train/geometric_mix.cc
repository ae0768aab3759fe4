#include "train/geometric_mix.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/random.h"
#include "solve/qr.h"
#include "solve/solve.h"

namespace kvsplice::train {

namespace {

constexpr size_t kAtoms = 7, kMixes = 48, kFeatures = 3 * kMixes;
constexpr double kKept = 0.6;  // share of mixing weights that are not zero

Matrix<double> normals(Random& random, size_t rows, size_t cols) {
  Matrix<double> m(rows, cols);
  for (double& x : m.flat()) x = random.normal();
  return m;
}

// The functions of the scalar that are mixed, one row per value of t.
Matrix<double> atoms_of(std::span<const double> t) {
  Matrix<double> atoms(t.size(), kAtoms);
  for (size_t i = 0; i < t.size(); ++i) {
    const double u = t[i], turn = 2 * std::numbers::pi * u;
    const double row[kAtoms] = {1,
                                u,
                                u * u,
                                u * (u + 1) / 2,
                                std::sqrt(std::clamp(u, 1e-6, 1.0)),
                                std::sin(turn),
                                std::cos(turn)};
    std::copy_n(row, kAtoms, atoms.row(i).begin());
  }
  return atoms;
}

Matrix<double> product(const Matrix<double>& a, const Matrix<double>& b) {
  Matrix<double> c(a.rows(), b.cols());
  gemm(Trans::no, Trans::no, 1.0, a, b, 0.0, c);
  return c;
}

// [pre, tanh(pre), sigmoid(pre)]
Matrix<double> bent(const Matrix<double>& pre) {
  Matrix<double> out(pre.rows(), 3 * pre.cols());
  for (size_t r = 0; r < pre.rows(); ++r) {
    for (size_t c = 0; c < pre.cols(); ++c) {
      const double x = pre(r, c);
      out(r, c) = x;
      out(r, pre.cols() + c) = std::tanh(x);
      out(r, 2 * pre.cols() + c) = 1 / (1 + std::exp(-x));
    }
  }
  return out;
}

void scale_columns_to_one(Matrix<double>& x) {
  std::vector<double> mean(x.cols()), scale(x.cols());
  const double n = double(x.rows());
  const auto each = [&](auto&& visit) {
    for (size_t r = 0; r < x.rows(); ++r) {
      for (size_t c = 0; c < x.cols(); ++c) visit(x(r, c), c);
    }
  };
  each([&](double v, size_t c) { mean[c] += v / n; });
  each([&](double v, size_t c) { scale[c] += (v - mean[c]) * (v - mean[c]) / n; });
  for (double& v : scale) v = std::sqrt(v) + 1e-6;
  each([&](double& v, size_t c) { v /= scale[c]; });
}

Matrix<float> rows_of(const Matrix<double>& x, size_t first, size_t n) {
  Matrix<float> out(n, x.cols());
  for (size_t r = 0; r < n; ++r)
    std::copy_n(x.row(first + r).begin(), x.cols(), out.row(r).begin());
  return out;
}

}  // namespace

Result<GeometricMix> geometric_mix(const GeometricMixOptions& options) {
  if (options.dim < 1 || options.dim > kFeatures) {
    return Error{ErrorKind::usage, fmt::format("GeometricMix of {} columns; allowed: 1 ... {}",
                                               options.dim, kFeatures)};
  }
  Random random(options.seed);
  std::vector<double> t(options.rows);
  for (double& x : t) x = random.uniform();
  Matrix<double> weights = normals(random, kAtoms, kMixes);
  for (double& w : weights.flat()) {
    if (random.uniform() >= kKept) w = 0;
  }
  KVS_ASSIGN(const Matrix<double> basis,
             orthonormal_columns(normals(random, kFeatures, options.dim)));
  Matrix<double> x = product(bent(product(atoms_of(t), weights)), basis);
  scale_columns_to_one(x);
  for (double& value : x.flat()) value += options.noise * random.normal();

  const size_t train_rows = options.rows * 3 / 4;
  return GeometricMix{rows_of(x, 0, train_rows), rows_of(x, train_rows, options.rows - train_rows)};
}

}  // namespace kvsplice::train
