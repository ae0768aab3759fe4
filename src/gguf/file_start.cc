#include "gguf/file_start.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/limits.h"

namespace kvsplice::gguf {

namespace {

constexpr uint64_t kLeastLoaded = 1 << 12;

static_assert(limits::kGgufHeader <= UINT32_MAX, "parts are told by 32 bits");

}  // namespace

Error FileStart::damaged(const std::string& what) const {
  return {ErrorKind::format, fmt::format("{} is truncated or damaged: {}", name_, what)};
}

// Loads more than is asked for, and twice as much each time: the source may be slow to call.
Result<> FileStart::load(size_t end) {
  if (end <= bytes_.size()) return {};
  const size_t loaded = bytes_.size();
  const uint64_t wanted = std::max<uint64_t>({end, 2 * loaded, kLeastLoaded});
  bytes_.resize(std::min({wanted, source_->size(), uint64_t{limits::kGgufHeader}}));
  return source_->read(loaded, bytes_.data() + loaded, bytes_.size() - loaded);
}

Result<Part> FileStart::take(uint64_t n) {
  if (n > left()) {
    return damaged(
        fmt::format("its header needs {} bytes at {} of {}", n, position_, source_->size()));
  }
  if (n > limits::kGgufHeader - position_) {
    return damaged(fmt::format("its header has more than {} bytes", limits::kGgufHeader));
  }
  KVS_TRY(load(position_ + n));
  const Part part{static_cast<uint32_t>(position_), static_cast<uint32_t>(n)};
  position_ += n;
  return part;
}

Result<Part> FileStart::take_text() {
  KVS_ASSIGN(const uint64_t size, get<uint64_t>());
  return take(size);
}

}  // namespace kvsplice::gguf
