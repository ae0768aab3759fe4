// An open GGUF file whose list of tensors has been checked against its size. What the readers of
// this folder share; it knows every ggml type, so models can be read with it too.
//
// ggml's parser bounds counts, strings and arrays by the bytes left in the file and returns null;
// it does not compare the tensors with the end of the file when it loads no data, and its getters
// abort on a wrong type. Both are done here.
#pragma once

#include <gguf.h>

#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "kvsplice/result.h"

namespace kvsplice::host {

struct SourceTensor {
  std::string name;
  ggml_type type = GGML_TYPE_F32;
  std::array<size_t, 4> ne = {};  // ggml's order: innermost first
  uint64_t offset = 0;            // in the file
  uint64_t bytes = 0;

  uint64_t count() const { return ne[0] * ne[1] * ne[2] * ne[3]; }
};

class GgufSource {
 public:
  static Result<GgufSource> open(const std::string& path);
  GgufSource(GgufSource&& other) noexcept;
  GgufSource& operator=(GgufSource&& other) noexcept;
  ~GgufSource();

  const std::string& path() const { return path_; }
  uint64_t file_bytes() const { return file_bytes_; }
  const gguf_context* header() const { return header_.get(); }
  const std::vector<SourceTensor>& tensors() const { return tensors_; }
  const SourceTensor* find(const std::string& name) const;
  Result<> read_bytes(uint64_t offset, void* out, size_t size) const;

  // Metadata, if the key is there and has the type.
  std::string text_or(const std::string& key, const std::string& otherwise) const;
  int64_t integer_or(const std::string& key, int64_t otherwise) const;
  std::vector<int32_t> integers_or_none(const std::string& key) const;  // an array of 32 bits each

 private:
  GgufSource() = default;
  Result<> parse();
  Result<> list_tensors();

  struct Free {
    void operator()(gguf_context* c) const { gguf_free(c); }
  };
  std::string path_;
  int fd_ = -1;
  uint64_t file_bytes_ = 0;
  std::unique_ptr<gguf_context, Free> header_;
  std::vector<SourceTensor> tensors_;
  std::unordered_map<std::string, size_t> by_name_;  // into tensors_
};

// Any of the integer types, if it fits.
Result<int64_t> integer_value(const gguf_context* header, int64_t key);

}  // namespace kvsplice::host
