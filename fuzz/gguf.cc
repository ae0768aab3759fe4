// A GGUF file, in memory: all of its metadata and tensors, and what tells it
// from other models' files.
#include "gguf/gguf_file.h"
#include "gguf/model_file.h"
#include "support/driver.h"
#include "support/gguf_mutator.h"

using namespace kvsplice;

const double fuzz::least_accepted = 0.2;

namespace {

constexpr size_t kMostValues = 1 << 12;

// Reads a value by every type; no more than one of the kinds of types can be right.
void read_metadata(const gguf::GgufReader& file, const std::string& key) {
  const bool scalars[] = {file.text(key).ok(), file.integer(key).ok(), file.number(key).ok(),
                          file.flag(key).ok()};
  const bool arrays[] = {file.texts(key).ok(), file.integers(key).ok(), file.numbers(key).ok()};
  const auto right = std::count(std::begin(scalars), std::end(scalars), true) +
                     std::count(std::begin(arrays), std::end(arrays), true);
  fuzz::demand(right <= 1 && (right == 0 || file.has(key)));
}

// What opens has its tensors in full.
void read_tensor(const gguf::GgufReader& file, const gguf::TensorInfo& tensor) {
  fuzz::demand(file.find(tensor.name) == &tensor);
  const size_t n = std::min(tensor.count(), kMostValues);
  std::vector<float> numbers(n);
  std::vector<int32_t> integers(n);
  const bool whole = tensor.type == gguf::TensorType::i32;
  for (const size_t first : {size_t{0}, tensor.count() - n}) {
    fuzz::demand(file.read(tensor.name, first, std::span<float>(numbers)).ok() != whole);
    fuzz::demand(file.read(tensor.name, first, std::span<int32_t>(integers)).ok() == whole);
  }
  fuzz::demand(!file.read(tensor.name, tensor.count() - n + 1, std::span<float>(numbers)).ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = gguf::GgufReader::open(view_source({data, size}), "input");
  if (!file.ok()) return 0;
  fuzz::accept();
  for (const char* key : {"text", "integer", "number", "flag", "texts", "integers", "numbers"}) {
    read_metadata(*file, key);
  }
  for (const auto& tensor : file->tensors()) read_tensor(*file, tensor);
  (void)gguf::read_shape(*file).ok();
  fuzz::demand(gguf::fingerprint_of_model(view_source({data, size}), "input").ok());
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  Random random(seed);
  return fuzz::hand_over(fuzz::mutate_gguf({data, size}, random), data, most);
}
