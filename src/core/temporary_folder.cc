#include "core/temporary_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

namespace kvsplice {

namespace {

namespace fs = std::filesystem;

constexpr const char* kMark = ".kvsplice-temporary";
constexpr std::string_view kPattern = "XXXXXX";  // which mkdtemp and mkostemp fill in

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

// Nobody holds the lock of a folder whose program was killed.
void remove_if_left_over(const fs::path& folder) {
  const Descriptor mark(::open((folder / kMark).c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  if (!mark || ::fstat(mark.get(), &info) != 0 || info.st_uid != ::geteuid()) return;
  if (try_lock(mark.get()) == Lock::held) remove_whole(folder);
}

void remove_left_overs(const fs::path& where, const std::string& prefix) {
  std::error_code failed;
  for (fs::directory_iterator at(where, failed), end; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().filename();
    if (name.starts_with(prefix) && name.size() == prefix.size() + kPattern.size()) {
      remove_if_left_over(at->path());
    }
  }
}

// None if another program has taken the folder for left over before it was locked.
Descriptor locked_mark(const fs::path& folder) {
  const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  Descriptor mark(::open((folder / kMark).c_str(), flags, 0600));
  struct stat info {};
  const bool ours = mark && try_lock(mark.get()) != Lock::busy && ::fstat(mark.get(), &info) == 0 &&
                    info.st_nlink > 0;
  return ours ? std::move(mark) : Descriptor();
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
    std::string path = (where / prefix).string().append(kPattern);
    if (::mkdtemp(path.data()) == nullptr) return system_error("make a folder in", where.string());
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
  if (!path_.empty()) remove_whole(path_);
}

Result<Descriptor> unnamed_file() {
  KVS_ASSIGN(const fs::path where, system_folder());
  std::string path = (where / "kvsplice-").string().append(kPattern);
  Descriptor file(::mkostemp(path.data(), O_CLOEXEC));
  if (!file) return system_error("make a file in", where.string());
  ::unlink(path.c_str());
  return file;
}

}  // namespace kvsplice
