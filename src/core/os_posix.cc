#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core/descriptor.h"
#include "core/os.h"

namespace kvsplice::os {

namespace {

int flags_of(Access access) {
  const int way = access == Access::read ? O_RDONLY : access == Access::write ? O_WRONLY : O_RDWR;
  return way | O_NOCTTY | O_CLOEXEC;
}

FileKind kind_of(mode_t mode) {
  if (S_ISREG(mode)) return FileKind::regular;
  if (S_ISDIR(mode)) return FileKind::folder;
  if (S_ISBLK(mode)) return FileKind::block_device;
  if (S_ISSOCK(mode)) return FileKind::socket;
  return FileKind::other;
}

std::optional<FileState> state_if(int result, const struct stat& info) {
  if (result != 0) return std::nullopt;
  FileState state;
  state.kind = kind_of(info.st_mode);
  state.size = static_cast<uint64_t>(info.st_size);
  state.device = info.st_dev;
  state.number = info.st_ino;
  state.names = info.st_nlink;
  state.owner = info.st_uid;
  state.group = info.st_gid;
  state.mode = info.st_mode & 0777;
  state.is_ours = info.st_uid == ::geteuid();
  return state;
}

}  // namespace

int open_file(const std::filesystem::path& path, Access access) {
  return retried([&] { return ::open(path.c_str(), flags_of(access)); });
}

int open_at_once(const std::filesystem::path& path, Access access) {
  return retried([&] { return ::open(path.c_str(), flags_of(access) | O_NONBLOCK); });
}

int standard_input() { return duplicate(STDIN_FILENO); }
int duplicate(int file) { return ::fcntl(file, F_DUPFD_CLOEXEC, 0); }
void close_file(int file) { ::close(file); }

ptrdiff_t read_some(int file, void* out, size_t most) {
  return retried([&] { return ::read(file, out, most); });
}

ptrdiff_t write_some(int file, const void* from, size_t n) {
  return retried([&] { return ::write(file, from, n); });
}

ptrdiff_t read_some_at(int file, uint64_t first, void* out, size_t most) {
  return retried([&] { return ::pread(file, out, most, static_cast<off_t>(first)); });
}

ptrdiff_t write_some_at(int file, uint64_t first, const void* from, size_t n) {
  return retried([&] { return ::pwrite(file, from, n, static_cast<off_t>(first)); });
}

bool rewind(int file) { return ::lseek(file, 0, SEEK_SET) == 0; }

bool resize(int file, uint64_t size) {
  return retried([&] { return ::ftruncate(file, static_cast<off_t>(size)); }) == 0;
}

// EINVAL: a file system that has nothing to flush.
bool flush(int file) {
  return retried([&] { return ::fsync(file); }) == 0 || errno == EINVAL;
}

Lock try_lock(int file) {
  if (retried([&] { return ::flock(file, LOCK_EX | LOCK_NB); }) == 0) return Lock::held;
  return errno == EWOULDBLOCK ? Lock::busy : Lock::unsupported;
}

std::optional<FileState> state_of(int file) {
  struct stat info {};
  return state_if(::fstat(file, &info), info);
}

std::optional<FileState> state_at(const std::filesystem::path& path) {
  struct stat info {};
  return state_if(::stat(path.c_str(), &info), info);
}

bool may_write(const std::filesystem::path& path) { return ::access(path.c_str(), W_OK) == 0; }

bool is_open_to_write(int file) {
  const int flags = ::fcntl(file, F_GETFL);
  return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

bool set_mode(int file, uint32_t mode) { return ::fchmod(file, mode) == 0; }

void set_owner(int file, uint32_t owner, uint32_t group) {
  if (::fchown(file, owner, group) != 0) {
    (void)!::fchown(file, static_cast<uid_t>(-1), group);
  }
}

int open_unnamed(const std::filesystem::path& folder) {
  std::string path = (folder / "kvsplice-").string().append(kRandomLetters, 'X');
  const int file = ::mkostemp(path.data(), O_CLOEXEC);
  if (file >= 0) ::unlink(path.c_str());
  return file;
}

std::filesystem::path make_private_folder(const std::filesystem::path& prefix) {
  std::string path = prefix.string().append(kRandomLetters, 'X');
  if (::mkdtemp(path.data()) == nullptr) return {};
  return path;
}

Folder::Folder(Folder&& other) noexcept
    : path_(std::move(other.path_)), folder_(std::exchange(other.folder_, -1)) {}

Folder& Folder::operator=(Folder&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(folder_, other.folder_);
  return *this;
}

Folder::~Folder() {
  if (folder_ >= 0) ::close(folder_);
}

bool Folder::open(const std::string& path) {
  path_ = path;
  folder_ = ::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  return folder_ >= 0;
}

int Folder::open_file(const std::string& name) const {
  const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  return retried([&] { return ::openat(folder_, name.c_str(), flags); });
}

int Folder::create_file(const std::string& name, uint32_t mode) const {
  const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  return ::openat(folder_, name.c_str(), flags, static_cast<mode_t>(mode));
}

std::optional<FileState> Folder::state_at(const std::string& name) const {
  struct stat info {};
  return state_if(::fstatat(folder_, name.c_str(), &info, AT_SYMLINK_NOFOLLOW), info);
}

bool Folder::remove(const std::string& name) const {
  return ::unlinkat(folder_, name.c_str(), 0) == 0;
}

bool Folder::rename(const std::string& from, const std::string& to) const {
  return ::renameat(folder_, from.c_str(), folder_, to.c_str()) == 0;
}

void Folder::flush() const {
  const Descriptor whole(::openat(folder_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (whole) (void)os::flush(whole.get());
}

std::optional<uint64_t> random_number() {
  uint64_t number = 0;
  if (retried([&] { return ::getrandom(&number, sizeof number, 0); }) != sizeof number) return {};
  return number;
}

int processors() {
  cpu_set_t all;
  return sched_getaffinity(0, sizeof all, &all) == 0 ? std::max(1, CPU_COUNT(&all)) : 1;
}

void in_forked_children(void (*begin)()) { ::pthread_atfork(nullptr, nullptr, begin); }

}  // namespace kvsplice::os
