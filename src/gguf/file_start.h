// The start of a file, taken piece by piece and kept. Nothing is loaded, and no memory is taken,
// for what the file is too short for.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "core/byte_source.h"

namespace kvsplice::gguf {

// A part of a file's start; it says where, as what is kept may move.
struct Part {
  uint32_t at = 0, size = 0;
};

class FileStart {
 public:
  FileStart(std::shared_ptr<const ByteSource> source, std::string name)
      : source_(std::move(source)), name_(std::move(name)) {}

  Result<Part> take(uint64_t n);
  template <class T>
  Result<T> get() {
    KVS_ASSIGN(const Part part, take(sizeof(T)));
    T value;
    std::memcpy(&value, bytes_.data() + part.at, sizeof value);
    return value;
  }
  Result<Part> take_text();  // the characters behind their number

  ByteSpan operator[](Part part) const { return ByteSpan(bytes_).subspan(part.at, part.size); }
  std::string_view text(Part part) const {
    return {reinterpret_cast<const char*>(bytes_.data()) + part.at, part.size};
  }
  uint64_t position() const { return position_; }
  uint64_t left() const { return source_->size() - position_; }  // in the file
  const std::string& name() const { return name_; }
  const ByteSource& source() const { return *source_; }
  Error damaged(const std::string& what) const;

 private:
  Result<> load(size_t end);

  std::shared_ptr<const ByteSource> source_;
  std::string name_;
  Bytes bytes_;
  size_t position_ = 0;
};

}  // namespace kvsplice::gguf
