// Bytes that can be read at any place: of a file, of memory, of whatever a caller has.
#pragma once

#include <memory>
#include <string>

#include "core/bytes.h"
#include "core/disk_file.h"

namespace kvsplice {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual uint64_t size() const = 0;
  // Bytes [offset, offset + n), all of them or an error. Several threads may call at once.
  virtual Result<> read(uint64_t offset, void* out, size_t n) const = 0;
};

// Bytes [offset, offset + n), which must be there before memory is taken for them.
Result<Bytes> read_bytes(const ByteSource& source, uint64_t offset, size_t n);

Result<std::shared_ptr<const ByteSource>> file_source(const std::string& path);
std::shared_ptr<const ByteSource> file_source(std::shared_ptr<const DiskFile> file);
std::shared_ptr<const ByteSource> memory_source(Bytes bytes);
// Of bytes that stay where they are for as long as the source is used.
std::shared_ptr<const ByteSource> view_source(ByteSpan bytes);

}  // namespace kvsplice
