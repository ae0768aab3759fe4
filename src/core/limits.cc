#include "core/limits.h"

#include <fmt/format.h>

namespace kvsplice {

Result<> ReadLimits::check(const std::string& what, uint64_t its_tokens, uint64_t its_bytes) const {
  if (its_tokens > tokens) {
    return Error{ErrorKind::memory, fmt::format("{} of {} tokens; the caller's limit is {}", what,
                                                its_tokens, tokens)};
  }
  if (its_bytes > bytes) {
    return Error{ErrorKind::memory,
                 fmt::format("{} would take {} bytes of memory; the caller's limit is {}", what,
                             its_bytes, bytes)};
  }
  return {};
}

}  // namespace kvsplice
