#include "core/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>

#include "core/temporary_folder.h"

namespace kvsplice {

namespace {

namespace fs = std::filesystem;

Error refused(const std::string& path, const std::string& why) {
  return {ErrorKind::io, fmt::format("cannot write {}: {}", path, why)};
}

Result<uint64_t> unpredictable() {
  uint64_t number = 0;
  if (retried([&] { return ::getrandom(&number, sizeof number, 0); }) != sizeof number) {
    return Error{ErrorKind::io, "the system has no random numbers"};
  }
  return number;
}

// The number of a descriptor of this program that the path names, as /dev/stdout does.
std::optional<int> own_descriptor(const fs::path& path) {
  std::error_code none;
  if (!fs::equivalent(path.parent_path(), "/proc/self/fd", none)) return std::nullopt;
  const std::string number = path.filename();
  if (number.empty() || number.size() > 9 ||
      number.find_first_not_of("0123456789") != std::string::npos) {
    return std::nullopt;
  }
  return std::stoi(number);
}

struct Target {
  fs::path path;  // behind all links
  std::optional<int> descriptor;
};

// The file that a name leads to, which need not be there yet.
Result<Target> follow(const std::string& path) {
  constexpr int kMostLinks = 40;  // as Linux
  fs::path at = path;
  for (int links = 0; links < kMostLinks; ++links) {
    if (const auto descriptor = own_descriptor(at)) return Target{at, descriptor};
    std::error_code failed;
    if (!fs::is_symlink(fs::symlink_status(at, failed))) return Target{at, {}};
    const fs::path next = fs::read_symlink(at, failed);
    if (failed) return refused(path, failed.message());
    at = at.parent_path() / next;
  }
  return refused(path, "too many links");
}

}  // namespace

struct OutputFile::Impl {
  std::string path;          // as the caller names it
  std::string folder, name;  // where it leads to
  Descriptor in_folder, file;
  Descriptor old;         // what is to be replaced, locked
  Descriptor stream;      // what is written through: a pipe or a device
  std::string temporary;  // in the folder, while it is there
  bool published = false;

  ~Impl() { remove_temporary(); }

  Result<> choose_kind();
  Result<> open_stream(const Target& target);
  Result<> open_folder(const fs::path& target);
  Error cannot_create() const;
  Result<> lock_old();
  Result<> claim(Readers readers);
  Result<> make_temporary(mode_t mode);
  void remove_temporary();
  bool is_held(const std::string& other) const;
  bool another_writes() const;
  Result<> write_through() const;
  Result<> pour_into(int out) const;
  Result<> rename_onto_old();
  Result<> check_unchanged();
  Result<> hand_on_mode() const;
  std::string prefix() const;
  bool is_stream() const { return folder.empty(); }
};

// Whatever is no file and no stream is named.
Result<> OutputFile::Impl::choose_kind() {
  struct stat info {};
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (!exists && errno != ENOENT) return system_error("write", path);
  if (exists && S_ISDIR(info.st_mode)) return refused(path, "it is a directory");
  if (exists && S_ISBLK(info.st_mode)) return refused(path, "it is a block device");
  if (exists && S_ISSOCK(info.st_mode)) return refused(path, "it is a socket");
  KVS_ASSIGN(const Target target, follow(path));
  if (target.descriptor || (exists && !S_ISREG(info.st_mode))) return open_stream(target);
  return open_folder(target.path);
}

// A FIFO is opened when there is something to write: opening waits for a reader.
Result<> OutputFile::Impl::open_stream(const Target& target) {
  if (target.descriptor) {
    const int flags = ::fcntl(*target.descriptor, F_GETFL);
    if (flags < 0) return system_error("write", path);
    if ((flags & O_ACCMODE) == O_RDONLY) return refused(path, "it is open to be read only");
    stream = Descriptor(::fcntl(*target.descriptor, F_DUPFD_CLOEXEC, 0));
  } else if (::access(path.c_str(), W_OK) != 0) {
    return system_error("write", path);
  }
  KVS_ASSIGN(file, unnamed_file());
  return {};
}

Result<> OutputFile::Impl::open_folder(const fs::path& target) {
  name = target.filename();
  if (name.empty() || name == "." || name == "..") return refused(path, "this names no file");
  folder = target.has_parent_path() ? target.parent_path().string() : ".";
  in_folder = Descriptor(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!in_folder) return cannot_create();
  return {};
}

Error OutputFile::Impl::cannot_create() const {
  const char* reason = std::strerror(errno);
  return {ErrorKind::io, fmt::format("cannot create {}: folder {}: {}", path, folder, reason)};
}

Result<> OutputFile::Impl::lock_old() {
  if (old) return {};
  const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  old = Descriptor(retried([&] { return ::openat(in_folder.get(), name.c_str(), flags); }));
  if (!old) return errno == ENOENT ? Result<>() : system_error("write", path);
  if (try_lock(old.get()) == Lock::busy) return locked_by_another(path);
  return {};
}

// Short, however long the target's name is, and the same for all who write to it.
std::string OutputFile::Impl::prefix() const {
  const ByteSpan bytes(reinterpret_cast<const uint8_t*>(name.data()), name.size());
  return fmt::format(".kvs-{}-", hash128_hex(bytes).substr(0, 16));
}

// Whether a temporary belongs to a program at work. If not, its program was killed: it is removed.
bool OutputFile::Impl::is_held(const std::string& other) const {
  const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  const Descriptor found(::openat(in_folder.get(), other.c_str(), flags));
  struct stat info {};
  if (!found || ::fstat(found.get(), &info) != 0) return false;
  if (!S_ISREG(info.st_mode) || info.st_uid != ::geteuid()) return false;  // none of ours
  const Lock lock = try_lock(found.get());
  if (lock == Lock::held) ::unlinkat(in_folder.get(), other.c_str(), 0);
  return lock == Lock::busy;
}

bool OutputFile::Impl::another_writes() const {
  const std::string ours = prefix();
  std::error_code failed;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed)) {
    const std::string other = at->path().filename();
    if (other.starts_with(ours) && other != temporary && is_held(other)) return true;
  }
  return false;
}

Result<> OutputFile::Impl::make_temporary(mode_t mode) {
  constexpr int kMostTries = 100;
  for (int i = 0; i < kMostTries; ++i) {
    KVS_ASSIGN(const uint64_t number, unpredictable());
    temporary = fmt::format("{}{:016x}", prefix(), number);
    const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    file = Descriptor(::openat(in_folder.get(), temporary.c_str(), flags, mode));
    if (!file) {
      temporary.clear();
      if (errno == EEXIST || errno == EINTR) continue;
      return cannot_create();
    }
    // Who looks for leftovers may have found it before it was locked.
    struct stat info {};
    const bool locked = try_lock(file.get()) != Lock::busy;
    if (locked && ::fstat(file.get(), &info) == 0 && info.st_nlink > 0) return {};
    remove_temporary();
  }
  return locked_by_another(path);
}

void OutputFile::Impl::remove_temporary() {
  if (!temporary.empty()) ::unlinkat(in_folder.get(), temporary.c_str(), 0);
  temporary.clear();
}

// Of two programs that begin at once both see the other's temporary; both withdraw and try again
// after different times.
Result<> OutputFile::Impl::claim(Readers readers) {
  constexpr int kMostTries = 20;
  for (int i = 0; i < kMostTries; ++i) {
    KVS_TRY(lock_old());
    if (old && !is_named(old.get(), path)) {  // replaced before it was locked
      old = Descriptor();
      continue;
    }
    if (another_writes()) return locked_by_another(path);
    KVS_TRY(make_temporary(old || readers == Readers::owner ? 0600 : 0666));
    if (!another_writes()) return {};
    remove_temporary();
    KVS_ASSIGN(const uint64_t number, unpredictable());
    std::this_thread::sleep_for(std::chrono::milliseconds(1 + number % 30));
  }
  return locked_by_another(path);
}

Result<> OutputFile::Impl::pour_into(int out) const {
  Bytes piece(1 << 20);
  if (::lseek(file.get(), 0, SEEK_SET) < 0) return system_error("read", "a temporary file");
  for (size_t n = 1; n > 0;) {
    KVS_ASSIGN(n, read_up_to(file.get(), piece.data(), piece.size(), "a temporary file"));
    KVS_TRY(write_all(out, ByteSpan(piece).first(n), path));
  }
  return {};
}

Result<> OutputFile::Impl::write_through() const {
  if (stream) return pour_into(stream.get());
  const int flags = O_WRONLY | O_NOCTTY | O_CLOEXEC;
  const Descriptor out(retried([&] { return ::open(path.c_str(), flags); }));
  return out ? pour_into(out.get()) : system_error("write", path);
}

Result<> OutputFile::Impl::rename_onto_old() {
  const int in = in_folder.get();
  if (::renameat(in, temporary.c_str(), in, name.c_str()) == 0) {
    temporary.clear();
    return {};
  }
  // A file that is mounted into a container cannot be replaced, but written to.
  if (errno != EBUSY || !old) return system_error("rename onto", path);
  if (::ftruncate(old.get(), 0) != 0) return system_error("write", path);
  KVS_TRY(pour_into(old.get()));
  KVS_TRY(flush_to_disk(old.get(), path));
  std::swap(file, old);
  remove_temporary();
  return {};
}

// What another program has put there meanwhile stays, and what was written here as well.
Result<> OutputFile::Impl::check_unchanged() {
  struct stat now {
  }, then{};
  if (::fstatat(in_folder.get(), name.c_str(), &now, AT_SYMLINK_NOFOLLOW) != 0) return {};
  const bool same = old && ::fstat(old.get(), &then) == 0 && now.st_ino == then.st_ino &&
                    now.st_dev == then.st_dev;
  if (same) return {};
  KVS_ASSIGN(const uint64_t number, unpredictable());
  const std::string kept = fmt::format("kvsplice-kept-{:08x}", uint32_t(number));
  if (::renameat(in_folder.get(), temporary.c_str(), in_folder.get(), kept.c_str()) != 0) {
    return replaced_by_another(path);
  }
  temporary.clear();
  return Error{ErrorKind::io,
               fmt::format("{}; what was to be written is in {}", replaced_by_another(path).message,
                           (fs::path(folder) / kept).string())};
}

// The owner too, where the system allows it: a file of somebody else stays theirs.
Result<> OutputFile::Impl::hand_on_mode() const {
  struct stat info {};
  if (!old) return {};
  if (::fstat(old.get(), &info) != 0) return system_error("write", path);
  if (::fchown(file.get(), info.st_uid, info.st_gid) != 0) {
    (void)!::fchown(file.get(), static_cast<uid_t>(-1), info.st_gid);
  }
  if (::fchmod(file.get(), info.st_mode & 0777) != 0) return system_error("set the mode of", path);
  return {};
}

OutputFile::OutputFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
OutputFile::OutputFile(OutputFile&&) noexcept = default;
OutputFile& OutputFile::operator=(OutputFile&&) noexcept = default;
OutputFile::~OutputFile() = default;

Result<OutputFile> OutputFile::reserve(const std::string& path, Readers readers) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  KVS_TRY(impl->choose_kind());
  if (!impl->is_stream()) KVS_TRY(impl->claim(readers));
  return OutputFile(std::move(impl));
}

Result<OutputFile> OutputFile::reserve_over(const std::string& path, const Descriptor& locked) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  KVS_TRY(impl->choose_kind());
  if (impl->is_stream() || !is_named(locked.get(), path)) return replaced_by_another(path);
  impl->old = locked.again();
  KVS_TRY(impl->claim(Readers::owner));
  return OutputFile(std::move(impl));
}

const std::string& OutputFile::path() const { return impl_->path; }
int OutputFile::fd() const { return impl_->file.get(); }

void OutputFile::take_mode_of(int fd) {
  struct stat info {};
  if (impl_->old || impl_->is_stream() || ::fstat(fd, &info) != 0) return;
  (void)!::fchmod(impl_->file.get(), info.st_mode & 0777);
}

Result<> OutputFile::publish() {
  if (impl_->is_stream()) {
    if (impl_->published) return refused(path(), "a stream is written once");
    impl_->published = true;
    return impl_->write_through();
  }
  KVS_TRY(flush_to_disk(fd(), path()));
  if (impl_->published) {
    return is_named(fd(), path()) ? Result<>() : replaced_by_another(path());
  }
  KVS_TRY(impl_->check_unchanged());
  KVS_TRY(impl_->hand_on_mode());
  KVS_TRY(impl_->rename_onto_old());
  impl_->published = true;
  impl_->old = Descriptor();
  // The name survives a crash once the folder is on the disk; some systems cannot do it.
  const int in = impl_->in_folder.get();
  const Descriptor whole(::openat(in, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (whole) (void)flush_to_disk(whole.get(), path()).ok();
  return {};
}

}  // namespace kvsplice
