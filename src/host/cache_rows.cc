#include "host/cache_rows.h"

#include <fmt/format.h>
#include <ggml-backend.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace kvsplice::host {

namespace {

// A piece of the cache in its own type and order: `lines` runs of `length` values.
struct Piece {
  size_t lines, length;
  std::vector<uint8_t> bytes;

  uint8_t* line(size_t i) { return bytes.data() + i * (bytes.size() / lines); }
};

struct Copy {
  size_t offset, line, lines, stride;
};

size_t value_size(const CacheTensor& c) { return ggml_type_size(c.tensor->type); }
size_t cells(const CacheTensor& c) { return static_cast<size_t>(c.tensor->ne[1]); }
size_t padded_width(const CacheTensor& c) { return static_cast<size_t>(c.tensor->ne[0]); }

Piece make_piece(const CacheTensor& c, size_t rows, size_t width) {
  Piece piece = c.transposed ? Piece{width, rows, {}} : Piece{rows, width, {}};
  piece.bytes.resize(piece.lines * piece.length * value_size(c));
  return piece;
}

// Where the piece lies: offset of its first value, and bytes from line to line.
size_t offset_of(const CacheTensor& c, size_t first) {
  return (c.transposed ? first : first * padded_width(c)) * value_size(c);
}
size_t line_stride(const CacheTensor& c) {
  return (c.transposed ? cells(c) : padded_width(c)) * value_size(c);
}

// Lines without gaps are one line.
Copy plan_copy(const CacheTensor& c, size_t first, const Piece& piece) {
  const size_t line = piece.length * value_size(c), stride = line_stride(c);
  if (line == stride) return {offset_of(c, first), line * piece.lines, 1, stride};
  return {offset_of(c, first), line, piece.lines, stride};
}

void to_floats(ggml_type type, const void* from, std::span<float> to) {
  if (type == GGML_TYPE_F16) {
    ggml_fp16_to_fp32_row(static_cast<const ggml_fp16_t*>(from), to.data(), int64_t(to.size()));
  } else {
    std::copy_n(static_cast<const float*>(from), to.size(), to.data());
  }
}

void from_floats(ggml_type type, std::span<const float> from, void* to) {
  if (type == GGML_TYPE_F16) {
    ggml_fp32_to_fp16_row(from.data(), static_cast<ggml_fp16_t*>(to), int64_t(from.size()));
  } else {
    std::copy_n(from.data(), from.size(), static_cast<float*>(to));
  }
}

void transpose(MatrixView<const float> from, MatrixView<float> to) {
  for (size_t r = 0; r < from.rows; ++r) {
    for (size_t c = 0; c < from.cols; ++c) to(c, r) = from(r, c);
  }
}

Result<> check_fits(ggml_type type, MatrixView<const float> rows, size_t first) {
  const float most = type == GGML_TYPE_F16 ? 65504.0f : std::numeric_limits<float>::max();
  for (size_t r = 0; r < rows.rows; ++r) {
    for (float v : rows.row(r)) {
      if (!(std::abs(v) <= most)) {  // also refuses NaN
        return Error{ErrorKind::numeric,
                     fmt::format("value {} at position {} does not fit a cache of type {}", v,
                                 first + r, ggml_type_name(type))};
      }
    }
  }
  return {};
}

}  // namespace

void CacheTensor::get(size_t first, MatrixView<float> out) const {
  if (out.rows == 0) return;
  Piece piece = make_piece(*this, out.rows, out.cols);
  const Copy c = plan_copy(*this, first, piece);
  ggml_backend_tensor_get_2d(tensor, piece.bytes.data(), c.offset, c.line, c.lines, c.stride,
                             c.line);
  Matrix<float> turned;
  if (transposed) turned = Matrix<float>(piece.lines, piece.length);
  const MatrixView<float> to = transposed ? turned.view() : out;
  for (size_t i = 0; i < piece.lines; ++i) {
    to_floats(tensor->type, piece.line(i), to.row(i));
  }
  if (transposed) transpose(turned, out);
}

Result<> CacheTensor::set(size_t first, MatrixView<const float> rows) const {
  if (rows.rows == 0) return {};
  KVS_TRY(check_fits(tensor->type, rows, first));
  Piece piece = make_piece(*this, rows.rows, rows.cols);
  Matrix<float> turned;
  if (transposed) {
    turned = Matrix<float>(piece.lines, piece.length);
    transpose(rows, turned);
  }
  const MatrixView<const float> from = transposed ? std::as_const(turned).view() : rows;
  for (size_t i = 0; i < piece.lines; ++i) {
    from_floats(tensor->type, from.row(i), piece.line(i));
  }
  const Copy c = plan_copy(*this, first, piece);
  ggml_backend_tensor_set_2d(tensor, piece.bytes.data(), c.offset, c.line, c.lines, c.stride,
                             c.line);
  return {};
}

}  // namespace kvsplice::host
