#include "store/object_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/disk_file.h"
#include "core/errors.h"

namespace kvsplice::store {

namespace {

namespace fs = std::filesystem;

constexpr const char* kEnd = ".kvo";

Error refused(const std::string& verb, const std::string& path, const std::error_code& why) {
  return {ErrorKind::io, fmt::format("cannot {} {}: {}", verb, path, why.message())};
}

// The file, if it is as long as its head says; what it says beside.
struct Opened {
  DiskFile file;
  ObjectHead head;
};

Result<Opened> open_file(const std::string& path, const Hash& own) {
  KVS_ASSIGN(DiskFile file, DiskFile::open(path));
  KVS_ASSIGN(const Bytes front, file.read(0, std::min<uint64_t>(file.size(), kHeadBytes)));
  KVS_ASSIGN(ObjectHead head, read_head(front));
  KVS_ASSIGN(const uint64_t bytes, object_bytes(front));
  if (bytes != file.size()) {
    return format_error(fmt::format("{} bytes, where its head says {}", file.size(), bytes));
  }
  if (head.own != own) return format_error("the name of the file is not that of the object");
  return Opened{std::move(file), head};
}

// With the file's name in front, as messages of the system have it.
template <class T>
Result<T> named(const std::string& path, Result<T> result) {
  if (result.ok() || result.error().message.find(path) != std::string::npos) return result;
  return within(path, result.error());
}

Result<> write_new(const std::string& path, ByteSpan bytes) {
  const fs::path whole(path);
  os::Folder folder;
  if (!folder.open(whole.parent_path().string())) return system_error("create", path);
  const Descriptor file(folder.create_file(whole.filename().string(), 0600));
  if (!file) return system_error("create", path);
  return write_all(file.get(), bytes, path);
}

}  // namespace

Result<> make_folder(const std::string& path) {
  std::error_code failed;
  const bool made = fs::create_directory(path, failed);
  if (failed) return refused("make", path, failed);
  if (!made) return {};
  fs::permissions(path, fs::perms::owner_all, failed);
  return failed ? refused("close to others", path, failed) : Result<>();
}

Result<ObjectFiles> ObjectFiles::open(const std::string& folder) {
  const fs::path root(folder);
  const std::string objects = (root / "objects").string(), scratch = (root / "tmp").string();
  KVS_TRY(make_folder(objects));
  KVS_TRY(make_folder(scratch));
  KVS_ASSIGN(TemporaryFolder own, TemporaryFolder::create("store", scratch));
  return ObjectFiles(objects, std::move(own));
}

std::string ObjectFiles::path(const Hash& own) const {
  const std::string name = own.hex();
  return (fs::path(objects_) / name.substr(0, 2) / (name + kEnd)).string();
}

bool ObjectFiles::has(const Hash& own) const { return os::state_at(path(own)).has_value(); }

Result<FileHead> ObjectFiles::head(const Hash& own) const {
  auto opened = open_file(path(own), own);
  if (!opened.ok()) return named(path(own), Result<FileHead>(opened.error()));
  return FileHead{opened->head, opened->file.size()};
}

Result<std::vector<int32_t>> ObjectFiles::tokens(const Hash& own, const Key& key) const {
  const auto read = [&]() -> Result<std::vector<int32_t>> {
    KVS_ASSIGN(const Opened opened, open_file(path(own), own));
    KVS_ASSIGN(const Bytes start, opened.file.read(0, bytes_to_tokens(opened.head)));
    return open_tokens(start, key);
  };
  return named(path(own), read());
}

Result<Bytes> ObjectFiles::sealed(const Hash& own) const {
  const auto read = [&]() -> Result<Bytes> {
    KVS_ASSIGN(const Opened opened, open_file(path(own), own));
    return opened.file.read(0, opened.file.size());
  };
  return named(path(own), read());
}

Result<Object> ObjectFiles::read(const Hash& own, const Key& key) const {
  KVS_ASSIGN(const Bytes bytes, sealed(own));
  return named(path(own), store::open(bytes, key));
}

Result<> ObjectFiles::write(const Hash& own, ByteSpan sealed) const {
  const std::string made = scratch_.file(std::to_string((*next_)++)), to = path(own);
  KVS_TRY(make_folder(fs::path(to).parent_path().string()));
  Result<> written = write_new(made, sealed);
  std::error_code failed;
  if (written.ok()) fs::rename(made, to, failed);
  if (failed) written = refused("create", to, failed);
  if (!written.ok()) fs::remove(made, failed);
  return written;
}

Result<> ObjectFiles::remove(const Hash& own) const {
  std::error_code failed;
  fs::remove(path(own), failed);
  return failed ? refused("remove", path(own), failed) : Result<>();
}

// What has another name is not ours.
Result<std::vector<Hash>> ObjectFiles::list() const {
  std::vector<Hash> found;
  std::error_code failed;
  for (fs::recursive_directory_iterator at(objects_, failed), end; !failed && at != end;
       at.increment(failed)) {
    const auto own = Hash::of_hex(at->path().stem().string());
    if (own.ok() && at->path() == path(*own)) found.push_back(*own);
  }
  if (failed) return refused("list", objects_, failed);
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace kvsplice::store
