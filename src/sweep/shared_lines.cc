#include "sweep/shared_lines.h"

#include <chrono>
#include <thread>

#include "core/bytes.h"

namespace kvsplice::sweep {

namespace {

constexpr std::chrono::milliseconds kGlance(2);
constexpr int kMostGlances = 30'000;  // a minute

Result<Descriptor> open_to_add(const std::filesystem::path& path) {
  os::Folder folder;
  const std::string parent = path.has_parent_path() ? path.parent_path().string() : ".";
  if (!folder.open(parent)) return system_error("open", parent);
  Descriptor file(folder.create_file(path.filename().string(), 0666));
  if (!file && errno == EEXIST) file = Descriptor(os::open_file(path, os::Access::both));
  if (!file) return system_error("write", path.string());
  return file;
}

// Where there are no locks there is one process, as claims see to.
Result<> lock(int file, const std::string& path) {
  for (int i = 0; i < kMostGlances; ++i) {
    if (os::try_lock(file) != Lock::busy) return {};
    std::this_thread::sleep_for(kGlance);
  }
  return locked_by_another(path);
}

Result<uint64_t> size_of(int file, const std::string& path) {
  const auto state = os::state_of(file);
  if (!state) return system_error("read", path);
  return state->size;
}

Result<> write_at(int file, uint64_t at, const std::string& text, const std::string& path) {
  for (size_t done = 0; done < text.size();) {
    const ptrdiff_t n = os::write_some_at(file, at + done, text.data() + done, text.size() - done);
    if (n <= 0) return system_error("write", path);
    done += size_t(n);
  }
  return {};
}

}  // namespace

Result<std::vector<std::string>> SharedLines::more() {
  std::vector<std::string> lines;
  const Descriptor file(os::open_file(path_, os::Access::read));
  if (!file && errno == ENOENT) return lines;
  if (!file) return system_error("read", path_.string());
  KVS_ASSIGN(const uint64_t size, size_of(file.get(), path_.string()));
  std::string text(size > read_ ? size - read_ : 0, '\0');
  for (size_t done = 0; done < text.size();) {
    const ptrdiff_t n =
        os::read_some_at(file.get(), read_ + done, text.data() + done, text.size() - done);
    if (n < 0) return system_error("read", path_.string());
    if (n == 0) text.resize(done);  // it has been cut meanwhile
    done += size_t(n);
  }
  for (size_t first = 0, end; (end = text.find('\n', first)) != text.npos; first = end + 1) {
    lines.push_back(text.substr(first, end - first));
    read_ += end + 1 - first;
  }
  return lines;
}

Result<> SharedLines::add(const std::string& line) const {
  const std::string path = path_.string();
  KVS_ASSIGN(const Descriptor file, open_to_add(path_));
  KVS_TRY(lock(file.get(), path));
  KVS_ASSIGN(const uint64_t size, size_of(file.get(), path));
  char last = '\n';
  if (size > 0 && os::read_some_at(file.get(), size - 1, &last, 1) != 1) {
    return system_error("read", path);
  }
  return write_at(file.get(), size, (last == '\n' ? "" : "\n") + line + "\n", path);
}

}  // namespace kvsplice::sweep
