#include "linalg/small_eigen.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

namespace kvsplice {

namespace {

constexpr size_t kMostSteps = 60;    // per eigenvalue; two or three are usual
constexpr double kNothing = 1e-150;  // beside 1; its square is still a normal number

double dot(const double* a, const double* b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// y += factor x.
void add(double factor, const double* x, double* y, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

// a = Q T Q^T with T tridiagonal and Q the product of the reflections 1 - weight v v^T, one for
// each column but the last (Golub and Van Loan, Matrix Computations, 4th ed., section 8.3.1).
struct Tridiagonal {
  std::vector<double> diagonal, off;  // off[i]: between i and i + 1
  Matrix<double> reflections;         // row k: v, zeros up to entry k
  std::vector<double> weights;
};

// Mirrors the lower triangle.
void complete(Matrix<double>& a) {
  for (size_t i = 0; i < a.rows(); ++i) {
    for (size_t j = 0; j < i; ++j) a(j, i) = a(i, j);
  }
}

// Turns row and column k of the symmetric matrix a into (.., diagonal, off, 0, ...).
void reflect(Matrix<double>& a, size_t k, Tridiagonal& t) {
  const size_t n = a.rows(), first = k + 1;
  double* v = t.reflections.row(k).data();
  std::copy(a.row(k).begin() + first, a.row(k).end(), v + first);
  const double length = std::sqrt(dot(v + first, v + first, n - first));
  t.diagonal[k] = a(k, k);
  t.off[k] = v[first] > 0 ? -length : length;
  if (length == 0) return;
  v[first] -= t.off[k];
  const double weight = 2 / dot(v + first, v + first, n - first);
  t.weights[k] = weight;
  std::vector<double> w(n);
  for (size_t i = first; i < n; ++i) w[i] = weight * dot(&a(i, first), v + first, n - first);
  add(-weight / 2 * dot(&w[first], v + first, n - first), v + first, &w[first], n - first);
  for (size_t i = first; i < n; ++i) {
    add(-v[i], &w[first], &a(i, first), n - first);
    add(-w[i], v + first, &a(i, first), n - first);
  }
}

Tridiagonal tridiagonal(Matrix<double> a) {
  const size_t n = a.rows();
  Tridiagonal t{std::vector<double>(n), std::vector<double>(n), Matrix<double>(n, n),
                std::vector<double>(n)};
  for (size_t k = 0; k + 1 < n; ++k) reflect(a, k, t);
  t.diagonal[n - 1] = a(n - 1, n - 1);
  return t;
}

// The eigenvalue of the last two rows of the part [first, last] that is nearer to the last entry.
double shift_of(const Tridiagonal& t, size_t last) {
  const double e = t.off[last - 1], half = (t.diagonal[last - 1] - t.diagonal[last]) / 2;
  const double root = std::hypot(half, e);
  return t.diagonal[last] - e * e / (half + (half < 0 ? -root : root));
}

// One implicit QR step on the part [first, last] (ibid., algorithm 8.3.2); its rotations turn rows
// of `vectors`, too.
void qr_step(Tridiagonal& t, size_t first, size_t last, Matrix<double>& vectors) {
  double x = t.diagonal[first] - shift_of(t, last), z = t.off[first];
  for (size_t k = first; k < last; ++k) {
    const double r = std::hypot(x, z), c = r > 0 ? x / r : 1, s = r > 0 ? z / r : 0;
    if (k > first) t.off[k - 1] = r;
    const double a = t.diagonal[k], b = t.diagonal[k + 1], e = t.off[k];
    t.diagonal[k] = c * c * a + 2 * c * s * e + s * s * b;
    t.diagonal[k + 1] = s * s * a - 2 * c * s * e + c * c * b;
    t.off[k] = c * s * (b - a) + (c * c - s * s) * e;
    if (k + 1 < last) {
      x = t.off[k];
      z = s * t.off[k + 1];
      t.off[k + 1] *= c;
    }
    double *u = vectors.row(k).data(), *v = vectors.row(k + 1).data();
    for (size_t j = 0; j < vectors.cols(); ++j) {
      const double from = u[j];
      u[j] = c * from + s * v[j];
      v[j] = c * v[j] - s * from;
    }
  }
}

bool negligible(const Tridiagonal& t, size_t i) {
  const double beside = std::abs(t.diagonal[i]) + std::abs(t.diagonal[i + 1]);
  return std::abs(t.off[i]) <= std::max(std::numeric_limits<double>::epsilon() * beside, kNothing);
}

// The diagonal becomes eigenvalues; false if they do not converge.
bool diagonalise(Tridiagonal& t, Matrix<double>& vectors) {
  size_t last = t.diagonal.size() - 1;
  for (size_t steps = kMostSteps * t.diagonal.size(); last > 0;) {
    if (negligible(t, last - 1)) {
      --last;
      continue;
    }
    if (steps-- == 0) return false;
    size_t first = last - 1;
    while (first > 0 && !negligible(t, first - 1)) --first;
    qr_step(t, first, last, vectors);
  }
  return true;
}

// From eigenvectors of T, by rows, to those of a.
void turn_back(const Tridiagonal& t, Matrix<double>& vectors) {
  const size_t n = vectors.cols();
  for (size_t i = 0; i < n; ++i) {
    double* x = vectors.row(i).data();
    for (size_t k = n - 1; k-- > 0;) {
      const double* v = t.reflections.row(k).data();
      add(-t.weights[k] * dot(v + k + 1, x + k + 1, n - k - 1), v + k + 1, x + k + 1, n - k - 1);
    }
  }
}

// Of equal entries the first counts.
double sign_of(std::span<const double> v) {
  const auto largest = std::max_element(
      v.begin(), v.end(), [](double a, double b) { return std::abs(a) < std::abs(b); });
  return *largest < 0 ? -1 : 1;
}

EigenPairs descending(const std::vector<double>& values, const Matrix<double>& vectors,
                      double scale) {
  const size_t n = values.size();
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return values[a] > values[b]; });
  EigenPairs pairs{std::vector<double>(n), Matrix<double>(n, n)};
  for (size_t i = 0; i < n; ++i) {
    pairs.values[i] = scale * values[order[i]];
    const std::span<const double> from = vectors.row(order[i]);
    const double sign = sign_of(from);
    std::transform(from.begin(), from.end(), pairs.vectors.row(i).begin(),
                   [&](double v) { return sign * v; });
  }
  return pairs;
}

}  // namespace

Result<EigenPairs> small_eigen(Matrix<double> a) {
  assert(a.rows() == a.cols());
  if (a.empty()) return EigenPairs{};
  complete(a);
  double scale = 0;  // so that no square leaves the range of doubles
  for (double v : a.flat()) {
    if (!std::isfinite(v)) {
      return Error{ErrorKind::numeric, "eigenvectors: the matrix holds a value that is not finite"};
    }
    scale = std::max(scale, std::abs(v));
  }
  if (scale > 0) {
    for (double& v : a.flat()) v /= scale;
  }
  Matrix<double> vectors(a.rows(), a.rows());
  for (size_t i = 0; i < a.rows(); ++i) vectors(i, i) = 1;
  Tridiagonal t = tridiagonal(std::move(a));
  if (!diagonalise(t, vectors)) return Error{ErrorKind::numeric, "eigenvectors: no convergence"};
  turn_back(t, vectors);
  return descending(t.diagonal, vectors, scale);
}

}  // namespace kvsplice
