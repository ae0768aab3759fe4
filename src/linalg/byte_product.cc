#include "linalg/byte_product.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include "core/threads.h"
#include "linalg/byte_product_kernel.h"

namespace kvsplice {

using byte_product_kernel::kPanel;
using byte_product_kernel::kQuad;

namespace {

size_t pieces(size_t n, size_t piece) { return (n + piece - 1) / piece; }

}  // namespace

ByteRows::ByteRows(std::span<const MatrixView<const float>> parts, std::span<const float> factors)
    : cols_(factors.size()), stride_(pieces(factors.size(), kQuad) * kQuad) {
  const size_t rows = parts.empty() ? 0 : parts[0].rows;
  values_.resize(rows * stride_);
  scale_.resize(rows);
  sum_.resize(rows);
  parallel_chunks(rows, 64, [&](size_t first, size_t n) {
    std::vector<float> row(cols_);
    for (size_t r = first; r < first + n; ++r) {
      size_t at = 0;
      for (const auto& part : parts) {
        std::copy_n(part.row(r).data(), part.cols, row.data() + at);
        at += part.cols;
      }
      assert(at == cols_);
      int8_t* to = values_.data() + r * stride_;
      scale_[r] = byte_product_kernel::round_row(row.data(), factors.data(), cols_, to);
      sum_[r] = std::accumulate(to, to + cols_, int32_t{0});
    }
  });
}

ByteMatrix::ByteMatrix(MatrixView<const float> codes, std::vector<float> scale)
    : cols_(codes.cols), scale_(std::move(scale)) {
  assert(cols_ <= kMostCols && codes.rows == scale_.size());
  const size_t quads = pieces(cols_, kQuad);
  panels_.assign(pieces(codes.rows, kPanel) * kPanel * quads * kQuad,
                 uint8_t{byte_product_kernel::kOffset});
  for (size_t r = 0; r < codes.rows; ++r) {
    for (size_t c = 0; c < cols_; ++c) {
      panels_[byte_product_kernel::place(r, c, quads)] =
          static_cast<uint8_t>(static_cast<int>(codes(r, c)) + byte_product_kernel::kOffset);
    }
  }
}

ByteMatrix ByteMatrix::rounded(MatrixView<const float> values) {
  Matrix<float> codes(values.rows, values.cols);
  std::vector<float> scale(values.rows);
  for (size_t r = 0; r < values.rows; ++r) {
    float peak = 0;
    for (float v : values.row(r)) peak = std::max(peak, std::abs(v));
    if (peak == 0) continue;
    scale[r] = peak / 127;
    for (size_t c = 0; c < values.cols; ++c)
      codes(r, c) = std::nearbyint(127 * (values(r, c) / peak));
  }
  return {codes.view(), std::move(scale)};
}

Matrix<float> ByteMatrix::floats() const {
  Matrix<float> made(rows(), cols_);
  const size_t quads = pieces(cols_, kQuad);
  for (size_t r = 0; r < rows(); ++r) {
    for (size_t first = 0; first < cols_; first += kQuad) {
      const uint8_t* quad = &panels_[byte_product_kernel::place(r, first, quads)];
      const size_t n = std::min(kQuad, cols_ - first);
      for (size_t i = 0; i < n; ++i) {
        made(r, first + i) = scale_[r] * float(int(quad[i]) - byte_product_kernel::kOffset);
      }
    }
  }
  return made;
}

void ByteMatrix::multiply(const ByteRows& x, MatrixView<float> out) const {
  assert(x.cols() == cols_ && out.rows == x.rows() && out.cols == rows());
  // So many rows stay in cache while all weights pass.
  constexpr size_t kChunk = 8 * byte_product_kernel::kTall;
  parallel_chunks(x.rows(), kChunk, [&](size_t first, size_t n) {
    byte_product_kernel::multiply({.rows = n,
                                   .quads = pieces(cols_, kQuad),
                                   .cols = rows(),
                                   .a = x.values_.data() + first * x.stride_,
                                   .a_step = x.stride_,
                                   .weights = panels_.data(),
                                   .scale = x.scale_.data() + first,
                                   .row_sum = x.sum_.data() + first,
                                   .column_scale = scale_.data(),
                                   .c = out.data + first * out.stride,
                                   .c_step = out.stride});
  });
}

}  // namespace kvsplice
