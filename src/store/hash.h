// Names of what a store holds: SHA-256 of what it is of.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/bytes.h"

namespace kvsplice::store {

struct Hash {
  std::array<uint8_t, 32> bytes = {};

  std::string hex() const;                           // 64 digits, lower case
  static Result<Hash> of_hex(std::string_view hex);  // error format
  static Hash of(ByteSpan bytes);
  auto operator<=>(const Hash&) const = default;
};

}  // namespace kvsplice::store
