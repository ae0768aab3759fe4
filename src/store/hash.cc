#include "store/hash.h"

#include <fmt/format.h>
#include <sodium.h>

namespace kvsplice::store {

namespace {

// Negative: none. Capitals are refused, so that a name is written in one way only.
int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

}  // namespace

std::string Hash::hex() const { return fmt::format("{:02x}", fmt::join(bytes, "")); }

Result<Hash> Hash::of_hex(std::string_view hex) {
  Hash hash;
  bool legal = hex.size() == 2 * hash.bytes.size();
  for (size_t i = 0; legal && i < hash.bytes.size(); ++i) {
    const int high = digit_of(hex[2 * i]), low = digit_of(hex[2 * i + 1]);
    legal = high >= 0 && low >= 0;
    hash.bytes[i] = static_cast<uint8_t>(16 * high + low);
  }
  if (legal) return hash;
  return Error{ErrorKind::format, "no name of 64 hexadecimal digits, lower case"};
}

Hash Hash::of(ByteSpan bytes) {
  Hash hash;
  crypto_hash_sha256(hash.bytes.data(), bytes.data(), bytes.size());
  return hash;
}

}  // namespace kvsplice::store
