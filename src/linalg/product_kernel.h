// Kernel of products of float matrices: plain pointers and sizes. Every value of the product is one
// chain of fused multiply-adds along the inner dimension, cut only every kInner terms. So it does
// not depend on where it stands, on what else is computed, or on the width of vectors: all targets
// that fuse give the same bits.
#pragma once

#include <cstddef>

namespace kvsplice::product_kernel {

constexpr size_t kInner = 256;
constexpr size_t kTall = 12;  // rows and columns that the largest targets compute at once
constexpr size_t kWide = 32;

// Value (r, c) stands at data[r * down + c * right]; one of the two steps is 1.
struct Operand {
  const float* data;
  size_t down, right;
};

// c = alpha a b + beta c: a [rows x inner], b [inner x cols], c [rows x cols] in rows of c_step
// values, apart from a and b. If beta is 0, c is not read.
struct Product {
  size_t rows, inner, cols;
  float alpha;
  Operand a, b;
  float beta;
  float* c;
  size_t c_step;
  // Behind the first reach + r values of row r of a all are zeros, which may be passed over.
  size_t reach = ~size_t{0} / 2;
};

void multiply(const Product& product);

namespace reference {
void multiply(const Product& product);
}  // namespace reference

}  // namespace kvsplice::product_kernel
