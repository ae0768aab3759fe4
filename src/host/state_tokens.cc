#include "host/state_tokens.h"

#include <fmt/format.h>

#include <string>

namespace kvsplice::host {

namespace {

constexpr int32_t kPacked = -1;  // no token: LLAMA_TOKEN_NULL
constexpr int32_t kFormat = 1;   // SERVER_TOKENS_STATE_VERSION
constexpr size_t kBefore = 3, kBehind = 1;

}  // namespace

Result<std::vector<int32_t>> unpack_token_field(std::vector<int32_t> words) {
  if (words.empty() || words[0] != kPacked) return words;
  if (words.size() < 2 || words[1] != kFormat) {
    return Error{ErrorKind::unsupported,
                 fmt::format("the tokens are a record of format {}; legal: a plain list, or a "
                             "record of format {}",
                             words.size() < 2 ? "none" : std::to_string(words[1]), kFormat)};
  }
  const size_t count = words.size() < kBefore ? 0 : static_cast<uint32_t>(words[2]);
  if (words.size() < kBefore + kBehind || count > words.size() - kBefore - kBehind) {
    return Error{ErrorKind::format,
                 fmt::format("truncated: a record of {} tokens in {} words", count, words.size())};
  }
  const auto media = static_cast<uint32_t>(words[kBefore + count]);
  if (media > 0) {
    return Error{
        ErrorKind::unsupported,
        fmt::format("the tokens name {} media (images, sound); text alone is handled", media)};
  }
  if (const size_t left = words.size() - kBefore - count - kBehind; left > 0) {
    return Error{ErrorKind::format, fmt::format("{} words behind the record of tokens", left)};
  }
  words.erase(words.begin(), words.begin() + kBefore);
  words.resize(count);
  return words;
}

}  // namespace kvsplice::host
