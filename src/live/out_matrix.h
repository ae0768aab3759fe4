// What columns are made into: values of some heads, [columns x heads * dim], in bytes. Those of
// keys are asked by queries, those of values take sums over columns, so they stand in different
// orders.
#pragma once

#include <vector>

#include "core/shape.h"
#include "linalg/byte_product.h"
#include "live/rounded_rows.h"

namespace kvsplice::live {

class OutMatrix {
 public:
  OutMatrix() = default;
  OutMatrix(Kind kind, const Matrix<float>& out, size_t dim);

  size_t columns() const { return columns_; }
  size_t bytes() const;
  Matrix<float> floats() const;

  // Keys: to [n x columns] = rows of queries of a head, from `first` on, times what columns are
  // made into.
  void fold(size_t head, const RoundedRows& queries, size_t first, MatrixView<float> to,
            std::vector<float>& scratch) const;
  // Values: to [n x dim] += what sums over columns [n x columns] are made into, of a head.
  void unfold(size_t head, const RoundedRows& sums, size_t first, MatrixView<float> to,
              std::vector<float>& scratch) const;
  RoundedRows sums(const Matrix<float>& of_columns) const;  // as `unfold` takes them

 private:
  Kind kind_ = Kind::key;
  size_t columns_ = 0;
  std::vector<float> factors_;     // of values' columns, which their matrices are without
  std::vector<ByteMatrix> heads_;  // keys: [columns x dim], values: [dim x columns]
};

}  // namespace kvsplice::live
