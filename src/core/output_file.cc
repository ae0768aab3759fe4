#include "core/output_file.h"

#include <fmt/format.h>

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
  if (const auto number = os::random_number()) return *number;
  return Error{ErrorKind::io, "the system has no random numbers"};
}

// The number of a descriptor of this program that the path names, as /dev/stdout does.
std::optional<int> own_descriptor(const fs::path& path) {
  std::error_code none;
  if (!fs::equivalent(path.parent_path(), "/proc/self/fd", none)) return std::nullopt;
  const std::string number = path.filename().string();
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
  os::Folder in_folder;
  Descriptor file;
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
  Result<> make_temporary(uint32_t mode);
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
  using os::FileKind;
  if (path == "-") return refused(path, "for standard output say /dev/stdout, for a file ./-");
  const auto state = os::state_at(path);
  if (!state && errno != ENOENT) return system_error("write", path);
  const FileKind kind = state ? state->kind : FileKind::regular;
  if (kind == FileKind::folder) return refused(path, "it is a directory");
  if (kind == FileKind::block_device) return refused(path, "it is a block device");
  if (kind == FileKind::socket) return refused(path, "it is a socket");
  KVS_ASSIGN(const Target target, follow(path));
  if (target.descriptor || kind != FileKind::regular) return open_stream(target);
  return open_folder(target.path);
}

// A FIFO is opened when there is something to write: opening waits for a reader.
Result<> OutputFile::Impl::open_stream(const Target& target) {
  if (target.descriptor) {
    stream = Descriptor(os::duplicate(*target.descriptor));
    if (!stream) return system_error("write", path);
    if (!os::is_open_to_write(stream.get())) return refused(path, "it is open to be read only");
  } else if (!os::may_write(path)) {
    return system_error("write", path);
  }
  KVS_ASSIGN(file, unnamed_file());
  return {};
}

Result<> OutputFile::Impl::open_folder(const fs::path& target) {
  name = target.filename().string();
  if (name.empty() || name == "." || name == "..") return refused(path, "this names no file");
  folder = target.has_parent_path() ? target.parent_path().string() : ".";
  return in_folder.open(folder) ? Result<>() : cannot_create();
}

Error OutputFile::Impl::cannot_create() const {
  const char* reason = std::strerror(errno);
  return {ErrorKind::io, fmt::format("cannot create {}: folder {}: {}", path, folder, reason)};
}

Result<> OutputFile::Impl::lock_old() {
  if (old) return {};
  old = Descriptor(in_folder.open_file(name));
  if (!old) return errno == ENOENT ? Result<>() : system_error("write", path);
  if (os::try_lock(old.get()) == Lock::busy) return locked_by_another(path);
  return {};
}

// Short, however long the target's name is, and the same for all who write to it.
std::string OutputFile::Impl::prefix() const {
  const ByteSpan bytes(reinterpret_cast<const uint8_t*>(name.data()), name.size());
  return fmt::format(".kvs-{}-", hash128_hex(bytes).substr(0, 16));
}

// Whether a temporary belongs to a program at work. If not, its program was killed: it is removed.
bool OutputFile::Impl::is_held(const std::string& other) const {
  const Descriptor found(in_folder.open_file(other));
  const auto state = found ? os::state_of(found.get()) : std::nullopt;
  if (!state || state->kind != os::FileKind::regular || !state->is_ours) return false;
  const Lock lock = os::try_lock(found.get());
  if (lock == Lock::held) in_folder.remove(other);
  return lock == Lock::busy;
}

bool OutputFile::Impl::another_writes() const {
  const std::string ours = prefix();
  std::error_code failed;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed)) {
    const std::string other = at->path().filename().string();
    if (other.starts_with(ours) && other != temporary && is_held(other)) return true;
  }
  return false;
}

Result<> OutputFile::Impl::make_temporary(uint32_t mode) {
  constexpr int kMostTries = 100;
  for (int i = 0; i < kMostTries; ++i) {
    KVS_ASSIGN(const uint64_t number, unpredictable());
    temporary = fmt::format("{}{:016x}", prefix(), number);
    file = Descriptor(in_folder.create_file(temporary, mode));
    if (!file) {
      temporary.clear();
      if (errno == EEXIST || errno == EINTR) continue;
      return cannot_create();
    }
    // Who looks for leftovers may have found it before it was locked.
    const bool locked = os::try_lock(file.get()) != Lock::busy;
    const auto state = os::state_of(file.get());
    if (locked && state && state->names > 0) return {};
    remove_temporary();
  }
  return locked_by_another(path);
}

void OutputFile::Impl::remove_temporary() {
  if (!temporary.empty()) in_folder.remove(temporary);
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
  if (!os::rewind(file.get())) return system_error("read", "a temporary file");
  for (size_t n = 1; n > 0;) {
    KVS_ASSIGN(n, read_up_to(file.get(), piece.data(), piece.size(), "a temporary file"));
    KVS_TRY(write_all(out, ByteSpan(piece).first(n), path));
  }
  return {};
}

Result<> OutputFile::Impl::write_through() const {
  if (stream) return pour_into(stream.get());
  const Descriptor out(os::open_file(path, os::Access::write));
  return out ? pour_into(out.get()) : system_error("write", path);
}

Result<> OutputFile::Impl::rename_onto_old() {
  if (in_folder.rename(temporary, name)) {
    temporary.clear();
    return {};
  }
  // A file that is mounted into a container cannot be replaced, but written to.
  if (errno != EBUSY || !old) return system_error("rename onto", path);
  if (!os::resize(old.get(), 0)) return system_error("write", path);
  KVS_TRY(pour_into(old.get()));
  KVS_TRY(flush_to_disk(old.get(), path));
  std::swap(file, old);
  remove_temporary();
  return {};
}

// What another program has put there meanwhile stays, and what was written here as well.
Result<> OutputFile::Impl::check_unchanged() {
  const auto now = in_folder.state_at(name);
  if (!now) return {};
  const auto then = old ? os::state_of(old.get()) : std::nullopt;
  if (then && then->is_same_file(*now)) return {};
  KVS_ASSIGN(const uint64_t number, unpredictable());
  const std::string kept = fmt::format("kvsplice-kept-{:08x}", uint32_t(number));
  if (!in_folder.rename(temporary, kept)) return replaced_by_another(path);
  temporary.clear();
  return Error{ErrorKind::io,
               fmt::format("{}; what was to be written is in {}", replaced_by_another(path).message,
                           (fs::path(folder) / kept).string())};
}

// The owner too, where the system allows it: a file of somebody else stays theirs.
Result<> OutputFile::Impl::hand_on_mode() const {
  if (!old) return {};
  const auto state = os::state_of(old.get());
  if (!state) return system_error("write", path);
  os::set_owner(file.get(), state->owner, state->group);
  return os::set_mode(file.get(), state->mode) ? Result<>() : system_error("set the mode of", path);
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
  const auto state = os::state_of(fd);
  if (impl_->old || impl_->is_stream() || !state) return;
  (void)os::set_mode(impl_->file.get(), state->mode);
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
  impl_->in_folder.flush();
  return {};
}

}  // namespace kvsplice
