// What differs between systems: open files, folders, locks, owners, processors. os_posix.cc and
// os_windows.cc say how; the build takes one of them. Files are numbers as in C. Calls that fail
// return a negative number, false or nothing, and errno says why.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace kvsplice {

// Some network file systems have no locks; programs go on without.
enum class Lock { held, busy, unsupported };

namespace os {

enum class Access { read, write, both };
enum class FileKind { regular, folder, block_device, socket, other };

struct FileState {
  FileKind kind = FileKind::other;
  uint64_t size = 0;
  uint64_t device = 0, number = 0;  // which file it is
  uint64_t names = 0;               // 0: it has been removed, but is open
  uint32_t owner = 0, group = 0, mode = 0;
  bool is_ours = false;  // it belongs to this program's user

  bool is_same_file(const FileState& other) const {
    return device == other.device && number == other.number;
  }
};

int open_file(const std::filesystem::path& path, Access access);
// The same; what would have to be waited for, such as a pipe, is not.
int open_at_once(const std::filesystem::path& path, Access access);
int standard_input();
int duplicate(int file);  // the same open file, its lock and its place included
void close_file(int file);

ptrdiff_t read_some(int file, void* out, size_t most);
ptrdiff_t write_some(int file, const void* from, size_t n);
ptrdiff_t read_some_at(int file, uint64_t first, void* out, size_t most);
ptrdiff_t write_some_at(int file, uint64_t first, const void* from, size_t n);
bool rewind(int file);
bool resize(int file, uint64_t size);
bool flush(int file);  // to the disk

Lock try_lock(int file);
std::optional<FileState> state_of(int file);
std::optional<FileState> state_at(const std::filesystem::path& path);  // behind all links
bool may_write(const std::filesystem::path& path);
bool is_open_to_write(int file);
bool set_mode(int file, uint32_t mode);
void set_owner(int file, uint32_t owner, uint32_t group);  // as far as the system allows it

// A file without a name, which goes when it is closed.
int open_unnamed(const std::filesystem::path& folder);
// A new folder, which only its user may read: the prefix and kRandomLetters more. Empty: failed.
std::filesystem::path make_private_folder(const std::filesystem::path& prefix);
constexpr size_t kRandomLetters = 6;

// An open folder: its files are found by their names even if it gets another one itself, where the
// system has that. Links are not followed, and nothing is waited for.
class Folder {
 public:
  Folder() = default;
  Folder(Folder&& other) noexcept;
  Folder& operator=(Folder&& other) noexcept;
  ~Folder();

  bool open(const std::string& path);
  int open_file(const std::string& name) const;  // to read and write
  int create_file(const std::string& name, uint32_t mode) const;
  std::optional<FileState> state_at(const std::string& name) const;
  bool remove(const std::string& name) const;
  bool rename(const std::string& from, const std::string& to) const;  // replaces what is there
  void flush() const;  // names survive a crash then; some systems cannot do it

 private:
  std::string path_;
  int folder_ = -1;
};

std::optional<uint64_t> random_number();
int processors();                          // that this process may use
void in_forked_children(void (*begin)());  // where processes fork, each child begins so

}  // namespace os
}  // namespace kvsplice
