// A writer of GGUF files that shares nothing with the library's.
#pragma once

#include <string>
#include <vector>

#include "core/bytes.h"

namespace kvsplice::testing {

class GgufEmitter {
 public:
  void set(const std::string& key, uint32_t v) { put_key(key, 4), entries_.put(v); }
  void set(const std::string& key, int32_t v) { put_key(key, 5), entries_.put(v); }
  void set(const std::string& key, float v) { put_key(key, 6), entries_.put(v); }
  void set_short(const std::string& key, uint16_t v) { put_key(key, 2), entries_.put(v); }
  void set_bool(const std::string& key, bool v) { put_key(key, 7), entries_.put(uint8_t(v)); }
  void set_text(const std::string& key, const std::string& v) { put_key(key, 8), put_text(v); }
  void set_texts(const std::string& key, const std::vector<std::string>& values) {
    put_array(key, 8, values.size());
    for (const auto& v : values) put_text(v);
  }
  void set_floats(const std::string& key, const std::vector<float>& values) {
    put_array(key, 6, values.size());
    entries_.put_array(std::span<const float>(values));
  }
  void set_integers(const std::string& key, const std::vector<int32_t>& values) {
    put_array(key, 5, values.size());
    entries_.put_array(std::span<const int32_t>(values));
  }
  // ggml's order of dimensions, innermost first.
  void add_tensor(const std::string& name, const std::vector<uint64_t>& dims,
                  const std::vector<float>& values) {
    tensors_.put(uint64_t(name.size()));
    tensors_.put_bytes({reinterpret_cast<const uint8_t*>(name.data()), name.size()});
    tensors_.put(uint32_t(dims.size()));
    for (uint64_t d : dims) tensors_.put(d);
    tensors_.put(int32_t(0));  // f32
    tensors_.put(uint64_t(data_.size()));
    data_.put_array(std::span<const float>(values));
    pad(data_);
    ++tensor_count_;
  }
  Bytes bytes() const {
    ByteWriter all;
    all.put_bytes({reinterpret_cast<const uint8_t*>("GGUF"), 4});
    all.put(uint32_t(3));
    all.put(uint64_t(tensor_count_));
    all.put(uint64_t(entry_count_));
    all.put_bytes(entries_.bytes());
    all.put_bytes(tensors_.bytes());
    pad(all);
    all.put_bytes(data_.bytes());
    return all.take();
  }

 private:
  static void pad(ByteWriter& w) {
    while (w.size() % 32 != 0) w.put(uint8_t(0));
  }
  void put_text(const std::string& v) {
    entries_.put(uint64_t(v.size()));
    entries_.put_bytes({reinterpret_cast<const uint8_t*>(v.data()), v.size()});
  }
  void put_key(const std::string& key, int32_t type) {
    put_text(key);
    entries_.put(type);
    ++entry_count_;
  }
  void put_array(const std::string& key, int32_t type, size_t n) {
    put_key(key, 9);
    entries_.put(type);
    entries_.put(uint64_t(n));
  }

  ByteWriter entries_, tensors_, data_;
  size_t entry_count_ = 0, tensor_count_ = 0;
};

// 256 bytes, the space and the letters, as SentencePiece has them; returns how many tokens there
// are.
inline size_t add_plain_vocabulary(GgufEmitter& file) {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  for (int i = 0; i < 256; ++i) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", unsigned(i));
    tokens.emplace_back(text);
    types.push_back(6);
  }
  tokens.emplace_back("\xe2\x96\x81");  // the space of SentencePiece
  for (char c = 'a'; c <= 'z'; ++c) tokens.emplace_back(1, c);
  types.resize(tokens.size(), 1);
  file.set_text("tokenizer.ggml.model", "llama");
  file.set_texts("tokenizer.ggml.tokens", tokens);
  file.set_floats("tokenizer.ggml.scores", std::vector<float>(tokens.size(), -1.0f));
  file.set_integers("tokenizer.ggml.token_type", types);
  return tokens.size();
}

}  // namespace kvsplice::testing
