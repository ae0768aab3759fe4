#include "core/temporary_folder.h"

#include <fmt/format.h>

#include <utility>

namespace kvsplice {

namespace {

namespace fs = std::filesystem;

constexpr const char* kMark = ".kvsplice-temporary";

Result<fs::path> system_folder() {
  std::error_code failed;
  fs::path folder = fs::temp_directory_path(failed);
  if (!failed) return folder;
  return Error{ErrorKind::io,
               fmt::format("no folder for temporary files (TMPDIR): {}", failed.message())};
}

std::string prefix_of(const std::string& purpose) { return fmt::format("kvsplice-{}-", purpose); }

void remove_whole(const fs::path& folder) {
  std::error_code ignored;
  fs::remove_all(folder, ignored);
}

// With its mark held: who makes a folder then sees that it is lost. Some systems keep an open file,
// and the folder with it, until it is closed.
void remove_whole(const fs::path& folder, Descriptor mark) {
  remove_whole(folder);
  mark = Descriptor();
  remove_whole(folder);
}

// Nobody holds the lock of a folder whose program was killed.
void remove_if_left_over(const fs::path& folder) {
  os::Folder opened;
  if (!opened.open(folder.string())) return;
  Descriptor mark(opened.open_file(kMark));
  const auto state = mark ? os::state_of(mark.get()) : std::nullopt;
  if (!state || !state->is_ours) return;
  if (os::try_lock(mark.get()) == Lock::held) remove_whole(folder, std::move(mark));
}

void remove_left_overs(const fs::path& where, const std::string& prefix) {
  std::error_code failed;
  for (fs::directory_iterator at(where, failed), end; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().filename().string();
    const bool is_one =
        name.starts_with(prefix) && name.size() == prefix.size() + os::kRandomLetters;
    if (is_one) remove_if_left_over(at->path());
  }
}

// None if another program has taken the folder for left over before it was locked.
Descriptor locked_mark(const fs::path& folder) {
  os::Folder opened;
  if (!opened.open(folder.string())) return {};
  Descriptor mark(opened.create_file(kMark, 0600));
  if (!mark || os::try_lock(mark.get()) == Lock::busy) return {};
  const auto state = os::state_of(mark.get());
  return state && state->names > 0 ? std::move(mark) : Descriptor();
}

}  // namespace

Result<TemporaryFolder> TemporaryFolder::create(const std::string& purpose,
                                                const fs::path& chosen) {
  fs::path where = chosen;
  if (where.empty()) {
    KVS_ASSIGN(where, system_folder());
  }
  const std::string prefix = prefix_of(purpose);
  remove_left_overs(where, prefix);
  constexpr int kMostTries = 10;
  for (int i = 0; i < kMostTries; ++i) {
    const fs::path path = os::make_private_folder(where / prefix);
    if (path.empty()) return system_error("make a folder in", where.string());
    if (Descriptor mark = locked_mark(path)) return TemporaryFolder(path, std::move(mark));
    remove_whole(path);
  }
  return system_error("make a folder in", where.string());
}

TemporaryFolder::TemporaryFolder(TemporaryFolder&& other) noexcept
    : path_(std::exchange(other.path_, {})), mark_(std::move(other.mark_)) {}

TemporaryFolder& TemporaryFolder::operator=(TemporaryFolder&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(mark_, other.mark_);
  return *this;
}

TemporaryFolder::~TemporaryFolder() {
  if (!path_.empty()) remove_whole(path_, std::move(mark_));
}

Result<Descriptor> unnamed_file() {
  KVS_ASSIGN(const fs::path where, system_folder());
  Descriptor file(os::open_unnamed(where));
  if (!file) return system_error("make a file in", where.string());
  return file;
}

}  // namespace kvsplice
