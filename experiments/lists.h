// Options that are lists in one word.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <vector>

namespace kvsplice::experiment {

// At commas; nothing between two commas is no part.
inline std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  for (size_t first = 0; first <= list.size();) {
    const size_t comma = std::min(list.find(',', first), list.size());
    if (comma > first) parts.push_back(list.substr(first, comma - first));
    first = comma + 1;
  }
  return parts;
}

// What is legal for a list that 'all' stands for, too.
inline std::string some_of(const std::vector<std::string>& names) {
  return fmt::format("all, or some of {}", fmt::join(names, ","));
}

}  // namespace kvsplice::experiment
