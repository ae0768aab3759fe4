// Names of files and records by what they depend on.
#pragma once

#include <string>

#include "core/bytes.h"

namespace kvsplice::experiment {

// 16 hex digits.
inline std::string hash_of(const std::string& text) {
  return hash128_hex({reinterpret_cast<const uint8_t*>(text.data()), text.size()}).substr(0, 16);
}

}  // namespace kvsplice::experiment
