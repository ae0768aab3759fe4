// A matrix in half precision, for tables that have to be small.
#pragma once

#include <vector>

#include "core/kv_block.h"
#include "live/plane_kernel.h"

namespace kvsplice::live {

class HalfMatrix {
 public:
  HalfMatrix() = default;
  explicit HalfMatrix(const Matrix<float>& values)
      : rows_(values.rows()), cols_(values.cols()), halves_(values.size()) {
    to_halves(values, {halves_.data(), rows_, cols_, cols_});
  }

  size_t rows() const { return rows_; }
  size_t bytes() const { return halves_.size() * sizeof(uint16_t); }
  Matrix<float> floats() const {
    Matrix<float> made(rows_, cols_);
    plane_kernel::to_floats(halves_.data(), made.size(), made.data());
    return made;
  }

 private:
  size_t rows_ = 0, cols_ = 0;
  std::vector<uint16_t> halves_;
};

}  // namespace kvsplice::live
