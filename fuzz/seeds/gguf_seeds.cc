#include "gguf/gguf_file.h"
#include "seeds.h"
#include "support/small_codecs.h"

namespace kvsplice::fuzz {

namespace {

// Every kind of metadata and every type of tensor.
Result<Bytes> one_of_everything() {
  auto file = gguf::GgufWriter::in_memory();
  file.set("text", std::string("one"));
  file.set("integer", int64_t{-5});
  file.set("number", 0.125);
  file.set("flag", true);
  file.set("texts", std::vector<std::string>{"x", "", "z"});
  file.set("integers", std::vector<int32_t>{3, -1});
  file.set("numbers", std::vector<float>{0.5f});
  const std::vector<float> numbers(6, 2);
  const std::vector<int32_t> integers(6, 7);
  file.declare({"wide", gguf::TensorType::f32, {3, 2}});
  file.declare({"half", gguf::TensorType::f16, {6}});
  file.declare({"small", gguf::TensorType::i8, {1, 2, 3}});
  file.declare({"whole", gguf::TensorType::i32, {2, 3}});
  KVS_TRY(file.begin_data());
  for (const char* name : {"wide", "half", "small"}) KVS_TRY(file.write(name, 0, numbers));
  KVS_TRY(file.write("whole", 0, integers));
  return file.finish_bytes();
}

Result<Bytes> a_shape() {
  auto file = gguf::GgufWriter::in_memory();
  gguf::write_shape(file, small_shape());
  KVS_TRY(file.begin_data());
  return file.finish_bytes();
}

Result<std::vector<Bytes>> make(const std::string&) {
  std::vector<Bytes> seeds;
  for (const auto& seed : {one_of_everything(), a_shape()}) {
    if (!seed.ok()) return seed.error();
    seeds.push_back(*seed);
  }
  return seeds;
}

}  // namespace

Seeds gguf_seeds() { return {"gguf", make}; }

}  // namespace kvsplice::fuzz
