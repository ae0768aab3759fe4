// Trained models as files: a `llama` model for llama.cpp, whose chains of linear maps are
// multiplied out, and all parameters as they are.
#pragma once

#include <string>

#include "train/lm/model.h"

namespace kvsplice::train::lm {

// A byte-pair vocabulary, as far as a file of a model says it.
struct Vocabulary {
  std::string splits;  // how texts are cut into words
  std::vector<std::string> tokens, merges;
  std::vector<int32_t> types;
  uint32_t begin = 0, end = 0;  // tokens of texts
  size_t size() const { return tokens.size(); }
};

// The first `size` tokens of the vocabulary of a model, GGUF, whose tokens follow their merges: a
// byte-pair vocabulary, too. Error unsupported if it is of another kind, usage if it is smaller.
Result<Vocabulary> first_tokens(const std::string& model, size_t size);

// Error usage if the model's cache is not affine.
Result<> export_model(const Model<float>& model, std::span<const float> parameters,
                      const Vocabulary& vocabulary, const std::string& path);

Result<> save_parameters(const Layout& layout, std::span<const float> parameters,
                         const std::string& path);
// Error format if the file has other groups.
Result<std::vector<float>> load_parameters(const Layout& layout, const std::string& path);

}  // namespace kvsplice::train::lm
