#include "core/bytes.h"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace kvsplice {

void ByteWriter::put_varint(uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<uint8_t>(value | 0x80));
  bytes_.push_back(static_cast<uint8_t>(value));
}

void ByteWriter::put_string(std::string_view text) {
  put_varint(text.size());
  bytes_.insert(bytes_.end(), text.begin(), text.end());
}

Result<uint64_t> ByteReader::get_varint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    KVS_ASSIGN(uint8_t byte, get<uint8_t>());
    if (shift == 63 && byte > 1) break;
    value |= uint64_t(byte & 0x7f) << shift;
    if (byte == 0 && shift > 0) {
      return Error{ErrorKind::format,
                   fmt::format("number before byte {} is in more bytes than it needs", at_)};
    }
    if (byte < 0x80) return value;
  }
  return Error{ErrorKind::format, fmt::format("number at byte {} is longer than 64 bits", at_)};
}

Result<std::string> ByteReader::get_string(size_t limit) {
  KVS_ASSIGN(uint64_t size, get_varint());
  if (size > limit) {
    return Error{ErrorKind::format,
                 fmt::format("string of {} bytes at byte {}; at most {}", size, at_, limit)};
  }
  KVS_ASSIGN(ByteSpan from, take(size));
  return std::string(from.begin(), from.end());
}

Result<ByteSpan> ByteReader::take(size_t n) {
  if (n > left()) return truncated(n);
  ByteSpan part = bytes_.subspan(at_, n);
  at_ += n;
  return part;
}

Error ByteReader::truncated(size_t wanted) const {
  return {ErrorKind::format,
          fmt::format("truncated: {} bytes wanted at byte {}, {} left", wanted, at_, left())};
}

uint64_t hash64(ByteSpan bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::string hash128_hex(ByteSpan bytes) {
  const XXH128_hash_t h = XXH3_128bits(bytes.data(), bytes.size());
  return fmt::format("{:016x}{:016x}", h.high64, h.low64);
}

}  // namespace kvsplice
