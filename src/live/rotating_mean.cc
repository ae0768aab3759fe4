#include "live/rotating_mean.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "linalg/byte_product_kernel.h"
#include "live/rounded_rows.h"

namespace kvsplice::live {

using byte_product_kernel::kOffset;
using byte_product_kernel::kQuad;

RotatingMean::RotatingMean(const Rope& rope, std::span<const float> mean, size_t dim)
    : rope_(rope), dim_(dim), step_(rope, dim, kPositions), scales_(mean.size()) {
  std::vector<int32_t> positions(kPositions);
  std::iota(positions.begin(), positions.end(), 0);
  Matrix<float> rows(kPositions, mean.size());
  for (size_t t = 0; t < kPositions; ++t) std::copy(mean.begin(), mean.end(), rows.row(t).begin());
  rope.apply(rows, int(dim), positions);
  const size_t quads = (dim + kQuad - 1) / kQuad;
  weights_.assign(heads() * quads * kQuad * kPositions, uint8_t{kOffset});
  for (size_t c = 0; c < mean.size(); ++c) {
    float peak = 0;
    for (size_t t = 0; t < kPositions; ++t) peak = std::max(peak, std::abs(rows(t, c)));
    scales_[c] = peak / 127;
    if (peak == 0) continue;
    for (size_t t = 0; t < kPositions; ++t) {
      weights_[place(c, t)] = uint8_t(int(std::nearbyint(127 * (rows(t, c) / peak))) + kOffset);
    }
  }
}

size_t RotatingMean::place(size_t column, size_t position) const {
  const size_t quads = (dim_ + kQuad - 1) / kQuad;
  return column / dim_ * head_bytes() + byte_product_kernel::place(position, column % dim_, quads);
}

Matrix<float> RotatingMean::of_group(size_t start) const {
  Matrix<float> rows(scales_.size(), kPositions), turned(scales_.size(), kPositions);
  for (size_t c = 0; c < rows.rows(); ++c) {
    for (size_t t = 0; t < kPositions; ++t) {
      rows(c, t) = scales_[c] * float(int(weights_[place(c, t)]) - kOffset);
    }
  }
  const Turn turn(rope_, dim_, start);
  for (size_t first = 0; first < rows.rows(); first += dim_) {
    turn.apply(rows.view().row_range(first, dim_), turned.view().row_range(first, dim_));
  }
  return turned;
}

Matrix<float> RotatingMean::turned(const Matrix<float>& queries, size_t start) const {
  const Turn turn(rope_, dim_, start);
  Matrix<float> made(queries.rows(), dim_);
  for (size_t r = 0; r < queries.rows(); ++r) turn.undo(queries.row(r), made.row(r));
  return made;
}

void RotatingMean::turn_on(Matrix<float>& turned) const {
  std::vector<float> before(dim_);
  for (size_t r = 0; r < turned.rows(); ++r) {
    const auto row = turned.row(r);
    std::copy(row.begin(), row.end(), before.begin());
    step_.undo(before, row);
  }
}

void RotatingMean::products(const Matrix<float>& turned, MatrixView<float> to) const {
  const size_t n = turned.rows() / heads();
  RoundedRows rows(turned.rows(), dim_, 2);
  std::vector<float> scratch;
  for (size_t r = 0; r < turned.rows(); ++r) {
    rows.set(r, turned.row(r), std::span(scales_).subspan(r / n * dim_, dim_));
  }
  for (size_t h = 0; h < heads(); ++h) {
    rows.multiply(h * n, {&weights_[h * head_bytes()], ones(kPositions).data()},
                  to.row_range(h * n, n), scratch);
  }
}

}  // namespace kvsplice::live
