// Files are opened so that others may rename and remove them meanwhile, as they may under POSIX.
// Who may read them is left to the folders they lie in: modes and owners mean nothing here.
#define _CRT_RAND_S
#include <io.h>
#include <windows.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "core/os.h"

namespace kvsplice::os {

namespace {

namespace fs = std::filesystem;

int meaning_of(DWORD error) {
  switch (error) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_BAD_NETPATH:
      return ENOENT;
    case ERROR_ACCESS_DENIED:
    case ERROR_PRIVILEGE_NOT_HELD:
    case ERROR_WRITE_PROTECT:
      return EACCES;
    case ERROR_SHARING_VIOLATION:
    case ERROR_LOCK_VIOLATION:
      return EBUSY;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS:
      return EEXIST;
    case ERROR_DIRECTORY:
      return ENOTDIR;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
      return ENOSPC;
    case ERROR_FILENAME_EXCED_RANGE:
      return ENAMETOOLONG;
    case ERROR_TOO_MANY_OPEN_FILES:
      return EMFILE;
    case ERROR_INVALID_HANDLE:
      return EBADF;
    default:
      return EIO;
  }
}

bool succeeded(BOOL result) {
  if (!result) errno = meaning_of(::GetLastError());
  return result;
}

HANDLE handle_of(int file) { return reinterpret_cast<HANDLE>(::_get_osfhandle(file)); }

constexpr DWORD kShared = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

HANDLE open_handle(const fs::path& path, DWORD access, DWORD disposition, DWORD flags) {
  return ::CreateFileW(path.c_str(), access, kShared, nullptr, disposition, flags, nullptr);
}

int open_number(const fs::path& path, DWORD access, DWORD disposition, DWORD flags) {
  const HANDLE handle = open_handle(path, access, disposition, flags);
  if (!succeeded(handle != INVALID_HANDLE_VALUE)) return -1;
  const int file = ::_open_osfhandle(reinterpret_cast<intptr_t>(handle), 0);
  if (file < 0) ::CloseHandle(handle);
  return file;
}

DWORD rights_of(Access access) {
  return (access == Access::write ? 0 : GENERIC_READ) |
         (access == Access::read ? 0 : GENERIC_WRITE);
}

OVERLAPPED place(uint64_t first) {
  OVERLAPPED at{};
  at.Offset = static_cast<DWORD>(first);
  at.OffsetHigh = static_cast<DWORD>(first >> 32);
  return at;
}

DWORD at_once(size_t n) { return static_cast<DWORD>(std::min<size_t>(n, 1 << 30)); }

ptrdiff_t read_at(int file, void* out, size_t most, OVERLAPPED* at) {
  DWORD n = 0;
  if (::ReadFile(handle_of(file), out, at_once(most), &n, at)) return n;
  const DWORD error = ::GetLastError();
  if (error == ERROR_HANDLE_EOF || error == ERROR_BROKEN_PIPE) return 0;
  errno = meaning_of(error);
  return -1;
}

ptrdiff_t write_at(int file, const void* from, size_t n, OVERLAPPED* at) {
  DWORD done = 0;
  return succeeded(::WriteFile(handle_of(file), from, at_once(n), &done, at)) ? ptrdiff_t(done)
                                                                              : -1;
}

std::optional<FileState> state_of_handle(HANDLE handle) {
  FileState state;
  if (::GetFileType(handle) != FILE_TYPE_DISK) return state;
  BY_HANDLE_FILE_INFORMATION info{};
  FILE_STANDARD_INFO standard{};
  if (!succeeded(::GetFileInformationByHandle(handle, &info)) ||
      !succeeded(
          ::GetFileInformationByHandleEx(handle, FileStandardInfo, &standard, sizeof standard))) {
    return std::nullopt;
  }
  const bool is_folder = info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY;
  state.kind = is_folder ? FileKind::folder : FileKind::regular;
  state.size = uint64_t(info.nFileSizeHigh) << 32 | info.nFileSizeLow;
  state.device = info.dwVolumeSerialNumber;
  state.number = uint64_t(info.nFileIndexHigh) << 32 | info.nFileIndexLow;
  state.names = standard.DeletePending ? 0 : info.nNumberOfLinks;
  state.mode = info.dwFileAttributes & FILE_ATTRIBUTE_READONLY ? 0444 : 0666;
  state.is_ours = true;
  return state;
}

std::optional<FileState> look_at(const fs::path& path, DWORD flags) {
  const HANDLE handle = open_handle(path, 0, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | flags);
  if (!succeeded(handle != INVALID_HANDLE_VALUE)) return std::nullopt;
  const auto state = state_of_handle(handle);
  ::CloseHandle(handle);
  return state;
}

// Windows 10 replaces files that are open, as POSIX does.
bool replace_open_file(HANDLE from, const fs::path& to) {
  struct RenameInfo {  // FILE_RENAME_INFO as of Windows 10
    DWORD flags;
    HANDLE root;
    DWORD name_bytes;
    WCHAR name[1];
  };
  constexpr auto kRenameInfoEx = static_cast<FILE_INFO_BY_HANDLE_CLASS>(22);
  constexpr DWORD kReplace = 1, kPosix = 2;
  const std::wstring name = fs::absolute(to).wstring();
  const size_t bytes = name.size() * sizeof(WCHAR);
  std::vector<uint64_t> room((sizeof(RenameInfo) + bytes) / sizeof(uint64_t) + 1);
  auto* info = reinterpret_cast<RenameInfo*>(room.data());
  info->flags = kReplace | kPosix;
  info->name_bytes = static_cast<DWORD>(bytes);
  std::memcpy(info->name, name.data(), bytes);
  const auto size = static_cast<DWORD>(sizeof(RenameInfo) + bytes);
  return ::SetFileInformationByHandle(from, kRenameInfoEx, info, size);
}

// What older systems refuse because the file is open is said as a mounted file's refusal is.
bool rename_file(const fs::path& from, const fs::path& to) {
  const HANDLE handle = open_handle(from, DELETE | SYNCHRONIZE, OPEN_EXISTING, 0);
  const bool replaced = handle != INVALID_HANDLE_VALUE && replace_open_file(handle, to);
  if (handle != INVALID_HANDLE_VALUE) ::CloseHandle(handle);
  if (replaced || succeeded(::MoveFileExW(from.c_str(), to.c_str(), MOVEFILE_REPLACE_EXISTING))) {
    return true;
  }
  const int why = errno;
  const auto there = look_at(to, 0);
  const bool is_open = why == EACCES && there && there->kind == FileKind::regular;
  errno = is_open ? EBUSY : why;
  return false;
}

std::wstring random_letters() {
  std::wstring letters;
  for (size_t i = 0; i < kRandomLetters; ++i) {
    letters += L"abcdefghijklmnopqrstuvwxyz012345"[random_number().value_or(0) % 32];
  }
  return letters;
}

constexpr int kMostTries = 100;

}  // namespace

int open_file(const fs::path& path, Access access) {
  return open_number(path, rights_of(access), OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL);
}

int open_at_once(const fs::path& path, Access access) { return open_file(path, access); }
int standard_input() { return duplicate(0); }
int duplicate(int file) { return ::_dup(file); }
void close_file(int file) { ::_close(file); }

ptrdiff_t read_some(int file, void* out, size_t most) { return read_at(file, out, most, nullptr); }

ptrdiff_t write_some(int file, const void* from, size_t n) {
  return write_at(file, from, n, nullptr);
}

ptrdiff_t read_some_at(int file, uint64_t first, void* out, size_t most) {
  OVERLAPPED at = place(first);
  return read_at(file, out, most, &at);
}

ptrdiff_t write_some_at(int file, uint64_t first, const void* from, size_t n) {
  OVERLAPPED at = place(first);
  return write_at(file, from, n, &at);
}

bool rewind(int file) {
  return succeeded(::SetFilePointerEx(handle_of(file), LARGE_INTEGER{}, nullptr, FILE_BEGIN));
}

bool resize(int file, uint64_t size) {
  FILE_END_OF_FILE_INFO end{};
  end.EndOfFile.QuadPart = static_cast<LONGLONG>(size);
  return succeeded(
      ::SetFileInformationByHandle(handle_of(file), FileEndOfFileInfo, &end, sizeof end));
}

// A file opened to read has nothing to flush.
bool flush(int file) { return succeeded(::FlushFileBuffers(handle_of(file))) || errno == EACCES; }

// Locks keep others from the bytes they cover, so they cover one that no file has.
Lock try_lock(int file) {
  OVERLAPPED at = place(uint64_t(1) << 62);
  constexpr DWORD kFlags = LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY;
  if (::LockFileEx(handle_of(file), kFlags, 0, 1, 0, &at)) return Lock::held;
  const DWORD error = ::GetLastError();
  const bool busy = error == ERROR_LOCK_VIOLATION || error == ERROR_IO_PENDING;
  return busy ? Lock::busy : Lock::unsupported;
}

std::optional<FileState> state_of(int file) { return state_of_handle(handle_of(file)); }
std::optional<FileState> state_at(const fs::path& path) { return look_at(path, 0); }

bool may_write(const fs::path& path) { return ::_waccess(path.c_str(), 2) == 0; }
bool is_open_to_write(int) { return true; }
bool set_mode(int, uint32_t) { return true; }
void set_owner(int, uint32_t, uint32_t) {}

int open_unnamed(const fs::path& folder) {
  constexpr DWORD kFlags = FILE_ATTRIBUTE_TEMPORARY | FILE_FLAG_DELETE_ON_CLOSE;
  for (int i = 0; i < kMostTries; ++i) {
    const fs::path path = folder / (L"kvsplice-" + random_letters());
    const int file = open_number(path, rights_of(Access::both) | DELETE, CREATE_NEW, kFlags);
    if (file >= 0 || errno != EEXIST) return file;
  }
  return -1;
}

fs::path make_private_folder(const fs::path& prefix) {
  for (int i = 0; i < kMostTries; ++i) {
    const fs::path path = prefix.wstring() + random_letters();
    if (succeeded(::CreateDirectoryW(path.c_str(), nullptr))) return path;
    if (errno != EEXIST) break;
  }
  return {};
}

Folder::Folder(Folder&& other) noexcept = default;
Folder& Folder::operator=(Folder&& other) noexcept = default;
Folder::~Folder() = default;

bool Folder::open(const std::string& path) {
  path_ = path;
  const auto state = os::state_at(path);
  if (state && state->kind != FileKind::folder) errno = ENOTDIR;
  return state && state->kind == FileKind::folder;
}

int Folder::open_file(const std::string& name) const {
  return open_number(fs::path(path_) / name, rights_of(Access::both), OPEN_EXISTING,
                     FILE_FLAG_OPEN_REPARSE_POINT);
}

int Folder::create_file(const std::string& name, uint32_t) const {
  return open_number(fs::path(path_) / name, rights_of(Access::both), CREATE_NEW,
                     FILE_ATTRIBUTE_NORMAL);
}

std::optional<FileState> Folder::state_at(const std::string& name) const {
  return look_at(fs::path(path_) / name, FILE_FLAG_OPEN_REPARSE_POINT);
}

bool Folder::remove(const std::string& name) const {
  return succeeded(::DeleteFileW((fs::path(path_) / name).c_str()));
}

bool Folder::rename(const std::string& from, const std::string& to) const {
  return rename_file(fs::path(path_) / from, fs::path(path_) / to);
}

void Folder::flush() const {}

std::optional<uint64_t> random_number() {
  unsigned low = 0, high = 0;
  if (::rand_s(&low) != 0 || ::rand_s(&high) != 0) return std::nullopt;
  return uint64_t(high) << 32 | low;
}

int processors() {
  DWORD_PTR own = 0, all = 0;
  if (!::GetProcessAffinityMask(::GetCurrentProcess(), &own, &all)) return 1;
  return std::max(1, std::popcount(uint64_t(own)));
}

void in_forked_children(void (*)()) {}

}  // namespace kvsplice::os
