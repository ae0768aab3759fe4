// Gemma 3 270M: a model of others with sliding windows, which tests use where it is.
#pragma once

#include <string>

namespace kvsplice::testing {

// Why a test that wants it is skipped.
inline std::string no_gemma(const std::string& path) {
  return "no model at '" + path +
         "'; tools/setup.sh --gemma gets it, only if asked to: 253 MB, under Google's terms";
}

}  // namespace kvsplice::testing
