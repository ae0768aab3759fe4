// Files of tests, and results that have to be good.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>

#include "core/bytes.h"
#include "core/os.h"
#include "kvsplice/result.h"

namespace kvsplice::testing {

// A directory of one test, removed with it.
class TempDir {
 public:
  TempDir() {
    path_ = os::make_private_folder(std::filesystem::temp_directory_path() / "kvsplice-");
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return (path_ / name).string(); }
  size_t count_files() const {
    return size_t(std::distance(std::filesystem::directory_iterator(path_), {}));
  }

 private:
  std::filesystem::path path_;
};

template <class T>
T must(Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.error().message);
  return std::move(result).value();
}

// Without waiting for the disk.
inline void put_file(const std::string& path, ByteSpan bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
}

// Turns one bit of each byte in turn, and back.
inline void for_each_flip(const std::string& path, const std::function<void()>& look) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  const size_t size = std::filesystem::file_size(path);
  for (size_t i = 0; i < size; ++i) {
    file.seekg(std::streamoff(i));
    const char byte = char(file.get());
    for (const char value : {char(byte ^ (1 << (i * 5 % 8))), byte}) {
      file.seekp(std::streamoff(i));
      file.put(value).flush();
      if (value != byte) look();
    }
  }
}

}  // namespace kvsplice::testing
