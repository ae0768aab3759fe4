// What one orthonormal transform (KLT) would be worth, by what shares it: each head, each layer
// (all heads jointly) or the model (all layers jointly). The basis is learnt on one part of the
// rows and judged on the other, because with more columns than rows a basis fits its own rows for
// free.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "analyse/moments.h"
#include "core/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice::analyse {

// Energy of the error as a share of the energy of the rows, mean included: the one scale on which
// keys before and after rotation, values and all scopes can be compared.
inline constexpr std::array<double, 3> kDistortions = {0.01, 0.05, 0.10};

struct Rates {
  double gain = 0;               // coding gain in bits per value
  std::array<double, 3> bits{};  // bits per value at kDistortions, by reverse water-filling
};
// `energy`: mean of |x|^2, mean included.
Rates rates(std::span<const double> variances, double energy);

// Rows by the two halves of a split.
struct Halves {
  Moments fit, test;
  Halves columns(size_t first, size_t n) const {
    return {fit.columns(first, n), test.columns(first, n)};
  }
};

// Variances of the test rows about the mean of the fit rows, in the given coordinates and in the
// principal axes of the fit rows. Size width.
std::vector<double> coordinate_variances(const Halves& halves);
Result<std::vector<double>> klt_variances(const Halves& halves);

// Eigenvalues of the covariance, descending, as shares of their sum.
Result<std::vector<double>> principal_shares(const Moments& moments);

// All layers as one long vector, without holding them: the inner products of a few rows tell what
// the much larger covariance of columns would.
class JointRows {
 public:
  explicit JointRows(size_t rows) : gram_(rows, rows) {}

  void add(MatrixView<const float> layer);  // [rows x its width]; divided by its rms
  size_t rows() const { return gram_.rows(); }
  size_t width() const { return width_; }
  double energy() const;  // mean of |x|^2

  // As above. in_fit: size rows, which of them make the basis. What the test rows have outside the
  // span of the basis is spread evenly over the remaining dimensions, the worst case for the rate.
  Result<std::vector<double>> klt_variances(const std::vector<bool>& in_fit) const;
  Result<std::vector<double>> principal_shares() const;  // size at most rows

 private:
  Matrix<double> gram_;
  size_t width_ = 0;
};

}  // namespace kvsplice::analyse
