#include "codec/pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/half.h"

namespace kvsplice::codec {

namespace {

// Bits of a two's complement field that holds `value`; 0 for 0.
int bits_needed(int32_t value) {
  if (value == 0) return 0;
  const uint32_t folded = static_cast<uint32_t>(value < 0 ? ~value : value);
  return 33 - std::countl_zero(folded);
}

// Least significant bit first.
class BitWriter {
 public:
  explicit BitWriter(ByteWriter& out) : out_(out) {}
  ~BitWriter() {
    if (held_ > 0) out_.put(static_cast<uint8_t>(buffer_));
  }
  void put(int32_t value, int bits) {
    buffer_ |= (uint64_t(uint32_t(value)) & ((uint64_t(1) << bits) - 1)) << held_;
    for (held_ += bits; held_ >= 8; held_ -= 8, buffer_ >>= 8) {
      out_.put(static_cast<uint8_t>(buffer_));
    }
  }

 private:
  ByteWriter& out_;
  uint64_t buffer_ = 0;
  int held_ = 0;
};

class BitReader {
 public:
  explicit BitReader(ByteSpan bytes) : bytes_(bytes) {}
  // The caller has checked that enough bytes are there.
  int32_t get(int bits) {
    for (; held_ < bits; held_ += 8) buffer_ |= uint64_t(bytes_[at_++]) << held_;
    const uint64_t field = buffer_ & ((uint64_t(1) << bits) - 1);
    buffer_ >>= bits;
    held_ -= bits;
    if (bits == 0) return 0;
    const uint64_t sign = uint64_t(1) << (bits - 1);
    return static_cast<int32_t>(static_cast<int64_t>(field ^ sign) - static_cast<int64_t>(sign));
  }
  // What is left of the last byte is zeros.
  bool ends_in_zeros() const { return buffer_ == 0; }

 private:
  ByteSpan bytes_;
  size_t at_ = 0;
  uint64_t buffer_ = 0;
  int held_ = 0;
};

std::vector<int> column_bits(const Rows& rows) {
  std::vector<int> bits(rows.codes.cols(), rows.code_bits);
  if (rows.code_bits > 0) return bits;
  for (size_t r = 0; r < rows.codes.rows(); ++r) {
    for (size_t c = 0; c < bits.size(); ++c) {
      bits[c] = std::max(bits[c], bits_needed(rows.codes(r, c)));
    }
  }
  return bits;
}

// A quantised block: one byte `code_bits`; if it is 0, one byte of width per column; then the
// codes, row by row, in one bit stream.
void pack_codes(const Rows& rows, ByteWriter& out) {
  const std::vector<int> bits = column_bits(rows);
  out.put(static_cast<uint8_t>(rows.code_bits));
  if (rows.code_bits == 0) {
    for (int b : bits) out.put(static_cast<uint8_t>(b));
  }
  BitWriter stream(out);
  for (size_t r = 0; r < rows.codes.rows(); ++r) {
    for (size_t c = 0; c < bits.size(); ++c) stream.put(rows.codes(r, c), bits[c]);
  }
}

bool is_finite(uint16_t half) { return (half & 0x7c00) != 0x7c00; }

Result<> pack_floats(const Matrix<float>& values, ByteWriter& out) {
  std::vector<uint16_t> halves(values.size());
  for (size_t i = 0; i < halves.size(); ++i) {
    halves[i] = to_half(values.flat()[i]);
    if (!is_finite(halves[i])) {
      return Error{ErrorKind::numeric,
                   fmt::format("value {} does not fit f16 (at most 65504)", values.flat()[i])};
    }
  }
  out.put_array(std::span<const uint16_t>(halves));
  return {};
}

Result<Rows> unpack_codes(ByteReader& in, size_t count, size_t width) {
  Rows rows;
  rows.quantised = true;
  KVS_ASSIGN(const uint8_t fixed, in.get<uint8_t>());
  if (fixed > 32) {
    return Error{ErrorKind::format, fmt::format("codes of {} bits; at most 32", fixed)};
  }
  std::vector<int> bits(width, fixed);
  if (fixed == 0) {
    KVS_ASSIGN(const auto widths, in.get_array<uint8_t>(width));
    std::copy(widths.begin(), widths.end(), bits.begin());
  }
  size_t row_bits = 0;
  for (int b : bits) {
    if (b > 32) return Error{ErrorKind::format, fmt::format("codes of {} bits; at most 32", b)};
    row_bits += b;
  }
  if (row_bits > 0 && count > in.left() * 8 / row_bits) {
    return Error{ErrorKind::format, fmt::format("truncated: {} rows of {} bits in {} bytes", count,
                                                row_bits, in.left())};
  }
  KVS_ASSIGN(const ByteSpan bytes, in.take((count * row_bits + 7) / 8));
  rows.code_bits = fixed;
  rows.codes = Matrix<int32_t>(count, width);
  BitReader stream(bytes);
  for (size_t r = 0; r < count; ++r) {
    for (size_t c = 0; c < width; ++c) rows.codes(r, c) = stream.get(bits[c]);
  }
  if (!stream.ends_in_zeros() || column_bits(rows) != bits) {
    return Error{ErrorKind::format, "codes in more bits than they need"};
  }
  return rows;
}

}  // namespace

Result<> pack(const Rows& rows, ByteWriter& out) {
  if (rows.width() == 0) return {};
  if (!rows.quantised) return pack_floats(rows.values, out);
  pack_codes(rows, out);
  return {};
}

Result<Rows> unpack(ByteReader& in, size_t count, size_t width, bool quantised) {
  if (width > 0 && quantised) return unpack_codes(in, count, width);
  Rows rows;
  if (width == 0) return rows;
  if (count > in.left() / (2 * width)) {
    return Error{ErrorKind::format, fmt::format("truncated: {} rows of {} halves in {} bytes",
                                                count, width, in.left())};
  }
  KVS_ASSIGN(const auto halves, in.get_array<uint16_t>(count * width));
  rows.values = Matrix<float>(count, width);
  for (size_t i = 0; i < halves.size(); ++i) {
    if (!is_finite(halves[i])) {
      return Error{ErrorKind::format,
                   fmt::format("a value at row {}, column {} is not finite", i / width, i % width)};
    }
    rows.values.flat()[i] = from_half(halves[i]);
  }
  return rows;
}

}  // namespace kvsplice::codec
