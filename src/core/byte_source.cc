#include "core/byte_source.h"

#include <fmt/format.h>

#include <algorithm>
namespace kvsplice {

namespace {

Error truncated(uint64_t offset, size_t n, uint64_t size) {
  return {ErrorKind::format,
          fmt::format("truncated: bytes {} ... {} of {}", offset, offset + n, size)};
}

class FileSource final : public ByteSource {
 public:
  explicit FileSource(std::shared_ptr<const DiskFile> file) : file_(std::move(file)) {}
  uint64_t size() const override { return file_->size(); }
  Result<> read(uint64_t offset, void* out, size_t n) const override {
    return file_->read(offset, {static_cast<uint8_t*>(out), n});
  }

 private:
  std::shared_ptr<const DiskFile> file_;
};

class ViewSource final : public ByteSource {
 public:
  explicit ViewSource(ByteSpan bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  Result<> read(uint64_t offset, void* out, size_t n) const override {
    if (offset > bytes_.size() || n > bytes_.size() - offset) {
      return truncated(offset, n, bytes_.size());
    }
    std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(offset), n, static_cast<uint8_t*>(out));
    return {};
  }

 private:
  ByteSpan bytes_;
};

class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(Bytes bytes) : bytes_(std::move(bytes)), view_(bytes_) {}
  uint64_t size() const override { return view_.size(); }
  Result<> read(uint64_t offset, void* out, size_t n) const override {
    return view_.read(offset, out, n);
  }

 private:
  Bytes bytes_;
  ViewSource view_;
};

}  // namespace

Result<Bytes> read_bytes(const ByteSource& source, uint64_t offset, size_t n) {
  const uint64_t size = source.size();
  if (offset > size || n > size - offset) return truncated(offset, n, size);
  Bytes bytes(n);
  KVS_TRY(source.read(offset, bytes.data(), n));
  return bytes;
}

Result<std::shared_ptr<const ByteSource>> file_source(const std::string& path) {
  KVS_ASSIGN(DiskFile file, DiskFile::open(path));
  return file_source(std::make_shared<const DiskFile>(std::move(file)));
}

std::shared_ptr<const ByteSource> file_source(std::shared_ptr<const DiskFile> file) {
  return std::make_shared<FileSource>(std::move(file));
}

std::shared_ptr<const ByteSource> memory_source(Bytes bytes) {
  return std::make_shared<MemorySource>(std::move(bytes));
}

std::shared_ptr<const ByteSource> view_source(ByteSpan bytes) {
  return std::make_shared<ViewSource>(bytes);
}

}  // namespace kvsplice
