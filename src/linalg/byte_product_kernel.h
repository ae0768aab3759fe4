// Kernel of products of bytes: plain pointers and sizes. Sums are exact integers, so all targets
// give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvsplice::byte_product_kernel {

constexpr size_t kQuad = 4;    // bytes of a row that are multiplied at once
constexpr size_t kPanel = 16;  // columns that stand side by side in the weights
constexpr int kOffset = 128;   // added to weights, which makes them unsigned
constexpr size_t kTall = 12;   // rows that the largest targets compute at once

// c[r, k] = scale[r] * column_scale[k] * sum_i a[r, i] weight[k, i], or that is added to it.
//   a        [rows x 4 quads] in rows of a_step bytes; row_sum is that of each row's bytes
//   weights  [cols / 16 rounded up][quads][16][4], each plus kOffset
struct Product {
  size_t rows, quads, cols;
  const int8_t* a;
  size_t a_step;
  const uint8_t* weights;
  const float* scale;
  const int32_t* row_sum;
  const float* column_scale;
  float* c;
  size_t c_step;
  bool add = false;
};

void multiply(const Product& product);

// Where value i of a column of weights stands.
inline size_t place(size_t column, size_t i, size_t quads) {
  const size_t quad = column / kPanel * quads + i / kQuad;
  return (quad * kPanel + column % kPanel) * kQuad + i % kQuad;
}

// to[i] = round(127 x[i] factor[i] / m), m the largest magnitude of x[i] factor[i]; returns m /
// 127, or 0, with zeros, if m is 0 or too small or large to divide by. Halves go to the even
// number.
float round_row(const float* x, const float* factor, size_t n, int8_t* to);

// The same, and what that leaves in steps of 1 / 254 of its own: x[i] factor[i] is about
// (high[i] + low[i] / 254) times what is returned.
constexpr float kLowSteps = 254;
float round_pair(const float* x, const float* factor, size_t n, int8_t* high, int8_t* low);

namespace reference {
void multiply(const Product& product);
float round_row(const float* x, const float* factor, size_t n, int8_t* to);
float round_pair(const float* x, const float* factor, size_t n, int8_t* high, int8_t* low);
}  // namespace reference

}  // namespace kvsplice::byte_product_kernel
