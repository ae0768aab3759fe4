// The right to do something by a name, which one process at a time has: a locked file in a folder
// that all of them see. The system takes the lock from a process that ends, however it ends.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/descriptor.h"

namespace kvsplice::sweep {

class Claim {
 public:
  // Nothing if it is taken. Error io if the folder cannot be written to, or has no locks.
  static Result<std::optional<Claim>> take(const std::filesystem::path& folder,
                                           const std::string& name);
  Claim(Claim&&) = default;
  Claim& operator=(Claim&& other) noexcept;
  ~Claim();

 private:
  Claim(os::Folder folder, std::string file, Descriptor lock)
      : folder_(std::move(folder)), file_(std::move(file)), lock_(std::move(lock)) {}

  os::Folder folder_;
  std::string file_;
  Descriptor lock_;
};

}  // namespace kvsplice::sweep
