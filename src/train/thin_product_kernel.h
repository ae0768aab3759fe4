// Kernel of products with a matrix so small that it stays in cache: plain pointers and sizes.
// Unlike a general product it packs nothing, which is half of the work on such sizes. The template
// is the scalar reference, and what double precision uses (gradient checks).
#pragma once

#include <cstddef>

namespace kvsplice::thin_product_kernel {

// out = start + a b: a [rows x inner], b [inner x cols], both contiguous, and start a row that is
// added to all, or null.
void multiply(const float* a, const float* b, const float* start, size_t rows, size_t inner,
              size_t cols, float* out);

namespace reference {

template <class T>
void multiply(const T* a, const T* b, const T* start, size_t rows, size_t inner, size_t cols,
              T* out, size_t first_column = 0) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = first_column; c < cols; ++c) {
      T sum = start != nullptr ? start[c] : T(0);
      for (size_t i = 0; i < inner; ++i) sum += a[r * inner + i] * b[i * cols + c];
      out[r * cols + c] = sum;
    }
  }
}

}  // namespace reference

inline void multiply(const double* a, const double* b, const double* start, size_t rows,
                     size_t inner, size_t cols, double* out) {
  reference::multiply(a, b, start, rows, inner, cols, out);
}

}  // namespace kvsplice::thin_product_kernel
