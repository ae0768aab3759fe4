// A folder among the system's temporary files, this process's own for one purpose. Whoever writes
// first makes it; it goes with the object, and all that is in it.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>

namespace kvsplice {

class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::string& purpose)
      : path_(std::filesystem::temp_directory_path() /
              ("kvsplice_" + purpose + "_" + std::to_string(::getpid()))) {}
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string path() const { return path_.string(); }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace kvsplice
