// The interleaved coder of `range`: eight rANS states of 32 bits, refilled by 16-bit words, one
// state per column of a group. Decoding has a SIMD and a scalar form that agree on any input.
#pragma once

#include "range/model.h"

namespace kvsplice::range {

constexpr int32_t kLargestCode = 1 << 30;  // less its column's centre
constexpr uint32_t kStateLow = 1u << 16;   // states are in [2^16, 2^32); encoding starts from 2^16

// Whether a code can be written, and read again.
inline bool within_reach(int64_t code, int64_t centre) {
  return code - centre <= kLargestCode && centre - code <= kLargestCode;
}

struct Encoded {
  std::array<uint32_t, kLanes> states;
  std::vector<uint16_t> words;   // in the order of the decoder
  std::vector<uint8_t> escapes;  // LEB128 of folded codes, in the order of the decoder
};

// Classes of all groups, row by row, as the decoder will find them.
std::vector<uint8_t> classes_of(const Model& model, const int32_t* codes, size_t rows);

// rows * model.columns codes, row-major, within_reach() of their column's centre.
Encoded encode(const Model& model, const int32_t* codes, size_t rows);

// Zeros that must be readable behind the words.
inline size_t padding_words(const Model& model) { return 2 * kLanes * (model.groups() + 1); }

enum class DecodeError {
  none,
  words_missing,
  escape_bad,  // missing, or of a code beyond +-2^30
  left_over,   // words or escapes behind the last code, or states that are not where encoding began
};

// encoded.words ends in padding_words() zeros.
DecodeError decode(const Model& model, const Encoded& encoded, size_t rows, int32_t* codes);
DecodeError decode_reference(const Model& model, const Encoded& encoded, size_t rows,
                             int32_t* codes);

namespace detail {

// Escapes in order; after the last, or a bad one, ok() is false and zeros are given.
class EscapeReader {
 public:
  explicit EscapeReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  int32_t next() {
    uint64_t folded = 0;
    for (int shift = 0; shift < 35 && at_ < bytes_.size(); shift += 7) {
      const uint8_t byte = bytes_[at_++];
      folded |= uint64_t{byte & 0x7fu} << shift;
      if (byte >= 0x80) continue;
      const int64_t code = static_cast<int64_t>(folded >> 1) ^ -static_cast<int64_t>(folded & 1);
      if (!within_reach(code, 0)) break;
      return static_cast<int32_t>(code);
    }
    ok_ = false;
    return 0;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return at_ == bytes_.size(); }

 private:
  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace detail
}  // namespace kvsplice::range
