// Kernel of products of columns, in double: plain pointers and sizes. The reference is what is
// defined, up to the order of sums.
#pragma once

#include <cstddef>

namespace kvsplice::column_products_kernel {

// Some columns of row-major rows.
struct Columns {
  const double* data;
  size_t stride, count;
};

// out [x.count x y.count] += sign * x^T y, over `rows` rows of both; out's rows are `stride` apart
// and do not overlap x or y.
void add(size_t rows, const Columns& x, const Columns& y, double sign, double* out, size_t stride);

namespace reference {

inline void add(size_t rows, const Columns& x, const Columns& y, double sign, double* out,
                size_t stride, size_t first_column = 0) {
  for (size_t i = 0; i < x.count; ++i) {
    for (size_t j = first_column; j < y.count; ++j) {
      double sum = 0;
      for (size_t r = 0; r < rows; ++r) sum += x.data[r * x.stride + i] * y.data[r * y.stride + j];
      out[i * stride + j] += sign * sum;
    }
  }
}

}  // namespace reference
}  // namespace kvsplice::column_products_kernel
