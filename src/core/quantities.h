// Sizes and times as people write them: 20G, 90s.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kvsplice/result.h"

namespace kvsplice {

// A whole number of bytes, or with K, M, G or T behind it of that power of 1024. Error usage.
Result<uint64_t> parse_size(std::string_view text);
// A whole number of seconds, or with s, m, h or d behind it of seconds, minutes, hours or days, in
// seconds. Error usage.
Result<uint64_t> parse_duration(std::string_view text);

std::string print_size(uint64_t bytes);        // "1.5 MiB"
std::string print_duration(uint64_t seconds);  // the largest unit alone: "3 h"

}  // namespace kvsplice
