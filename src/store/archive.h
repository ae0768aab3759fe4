// Many objects in one file, sealed as they are, to carry them to another store of the same key.
// docs/store.md has the bytes. Input is hostile.
#pragma once

#include <string>
#include <vector>

#include "core/disk_file.h"

namespace kvsplice::store {

class ArchiveWriter {
 public:
  // `key`: its fingerprint.
  static Result<ArchiveWriter> begin(OutputFile output, const std::string& key);
  Result<> add(ByteSpan sealed);
  // Whole and under its name from now on. How many objects it has.
  Result<uint64_t> finish();

 private:
  explicit ArchiveWriter(DiskFile file) : file_(std::move(file)) {}
  Result<> write(ByteSpan bytes) { return file_.write(file_.size(), bytes); }

  DiskFile file_;
  uint64_t objects_ = 0;
};

class ArchiveReader {
 public:
  // Walks through all of it. Error format: no archive, of another version, cut short.
  static Result<ArchiveReader> open(const std::string& path);

  const std::string& key() const { return key_; }  // the fingerprint of the key of its objects
  size_t size() const { return objects_.size(); }
  // Of an object, the first bytes, `most` of them.
  Result<Bytes> read(size_t object, uint64_t most = UINT64_MAX) const;

 private:
  struct Piece {
    uint64_t offset, bytes;
  };
  explicit ArchiveReader(DiskFile file) : file_(std::move(file)) {}
  Result<> load();

  DiskFile file_;
  std::string key_;
  std::vector<Piece> objects_;
};

}  // namespace kvsplice::store
