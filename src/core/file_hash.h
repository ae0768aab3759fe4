// Hashes of what need not be in memory at once: of files, and of bytes that come in pieces.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "core/bytes.h"
#include "kvsplice/result.h"

namespace kvsplice {

// hash128_hex of all pieces, one behind the other.
class PiecewiseHash {
 public:
  PiecewiseHash();
  ~PiecewiseHash();
  void add(ByteSpan piece);
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What identifies a file in manifests.

struct FileHash {
  uint64_t size;
  std::string hash;  // hash128_hex of its bytes
};

// Reads in pieces, so that the file may be larger than memory.
Result<FileHash> hash_file(const std::filesystem::path& path);

}  // namespace kvsplice
