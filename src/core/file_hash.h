// What identifies a file in manifests: its size and the hash of its bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "kvsplice/result.h"

namespace kvsplice {

struct FileHash {
  uint64_t size;
  std::string hash;  // as hash128_hex of all bytes
};

// Reads in pieces, so that the file may be larger than memory.
Result<FileHash> hash_file(const std::filesystem::path& path);

}  // namespace kvsplice
