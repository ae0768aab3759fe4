// R(position) mean of keys, for queries that are turned instead: q . R(start + i) m is
// (R(start)^T q) . R(i) m. What stands at positions 0 ... 255 is a table of bytes; rows are coded
// as what they differ from it, so that its rounding does no harm.
#pragma once

#include <vector>

#include "core/matrix.h"
#include "core/shape.h"
#include "live/turn.h"

namespace kvsplice::live {

class RotatingMean {
 public:
  static constexpr size_t kPositions = 256;

  // mean: heads of `dim` values.
  RotatingMean(const Rope& rope, std::span<const float> mean, size_t dim);

  // R(start ... start + 255) mean: [width of the rows x 256].
  Matrix<float> of_group(size_t start) const;

  // Queries, of which each head has as many, turned back to a group that begins at `start`, and on
  // to the next group: [heads * n x dim].
  Matrix<float> turned(const Matrix<float>& queries, size_t start) const;
  void turn_on(Matrix<float>& turned) const;
  // Products of queries turned to a group with the means of its tokens: [heads * n x 256].
  void products(const Matrix<float>& turned, MatrixView<float> to) const;

  size_t bytes() const { return weights_.size() + sizeof(float) * scales_.size(); }

 private:
  size_t heads() const { return scales_.size() / dim_; }
  size_t head_bytes() const { return weights_.size() / heads(); }
  size_t place(size_t column, size_t position) const;  // in weights_

  Rope rope_;
  size_t dim_;
  Turn step_;                     // to the next group
  std::vector<uint8_t> weights_;  // by head, as linalg/byte_product_kernel.h has them
  std::vector<float> scales_;     // of columns
};

}  // namespace kvsplice::live
