#include "archive.h"

#include <fmt/format.h>

#include "core/errors.h"

namespace kvsplice::app {

Result<> check_kind(const std::string& path, bool live) {
  KVS_ASSIGN(const auto file, DiskFile::open(path));
  KVS_ASSIGN(const Bytes start,
             file.read(0, std::min<uint64_t>(file.size(), session::kHeaderStart)));
  if (live::SavedCache::begins(start) && !live) {
    return usage_error(fmt::format("{} is of a live cache: give its codec as --cache", path));
  }
  if (live && start.size() == session::kHeaderStart && session::header_length(start).ok()) {
    return usage_error(fmt::format(
        "{} is of llama.cpp's own cache, from which a live cache cannot go on: give --cache f16",
        path));
  }
  return {};
}

}  // namespace kvsplice::app
