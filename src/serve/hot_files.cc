#include "serve/hot_files.h"

#include <filesystem>
#include <system_error>

#include "store/chain.h"

namespace kvsplice::serve {

HotFiles::File::~File() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

void HotFiles::add(std::string path, std::string tenant, std::vector<int32_t> tokens) {
  std::error_code failed;
  const uint64_t bytes = std::filesystem::file_size(path, failed);
  const auto file =
      std::make_shared<const File>(std::move(path), std::move(tenant), std::move(tokens), bytes);
  if (failed || file->tokens().empty() || bytes > most_) return;  // and it goes
  const std::lock_guard lock(mutex_);
  files_.remove_if([&](const Held& other) {
    const bool goes_on =
        other->tenant() == file->tenant() &&
        store::shared_length(other->tokens(), file->tokens()) == other->tokens().size();
    if (goes_on) bytes_ -= other->bytes();
    return goes_on;
  });
  for (; bytes_ > most_ - bytes; files_.pop_back()) bytes_ -= files_.back()->bytes();
  files_.push_front(file);
  bytes_ += bytes;
}

HotFiles::Held HotFiles::find(const std::string& tenant, std::span<const int32_t> tokens,
                              bool whole) {
  const std::lock_guard lock(mutex_);
  auto best = files_.end();
  size_t most = 0;
  for (auto it = files_.begin(); it != files_.end(); ++it) {
    if ((*it)->tenant() != tenant) continue;
    const size_t shared = store::shared_length((*it)->tokens(), tokens);
    if (shared <= most || (whole && shared < (*it)->tokens().size())) continue;
    most = shared;
    best = it;
  }
  if (best == files_.end()) return nullptr;
  files_.splice(files_.begin(), files_, best);
  return files_.front();
}

HotFiles::Totals HotFiles::totals() const {
  const std::lock_guard lock(mutex_);
  return {files_.size(), bytes_};
}

}  // namespace kvsplice::serve
