// Text to tokens and back, and the rows of the token embedding.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <exception>
#include <limits>

#include "host/model_impl.h"

namespace kvsplice::host {

namespace {

// The number of tokens, or minus the room needed.
int tokenize_into(const llama_vocab* vocabulary, const std::string& text, std::vector<Token>& out) {
  return llama_tokenize(vocabulary, text.data(), static_cast<int32_t>(text.size()), out.data(),
                        static_cast<int32_t>(out.size()), true, false);
}

const char embedding[] = "token_embd.weight";

}  // namespace

Result<std::vector<Token>> Model::tokenize(const std::string& text) const {
  if (text.size() > size_t(std::numeric_limits<int32_t>::max()) / 2) {
    return Error{ErrorKind::usage, fmt::format("text of {} bytes; at most 1 GiB", text.size())};
  }
  try {  // some tokenizers throw on malformed text
    std::vector<Token> tokens(text.size() + 16);
    int n = tokenize_into(impl_->vocabulary, text, tokens);
    if (n < 0 && n > std::numeric_limits<int32_t>::min()) {
      tokens.resize(static_cast<size_t>(-n));
      n = tokenize_into(impl_->vocabulary, text, tokens);
    }
    if (n >= 0) {
      tokens.resize(static_cast<size_t>(n));
      return tokens;
    }
  } catch (const std::exception& e) {
    return Error{ErrorKind::format, fmt::format("text cannot be tokenised: {}", e.what())};
  }
  return Error{ErrorKind::format, "text cannot be tokenised"};
}

std::string Model::piece(Token token) const {
  if (token < 0 || token >= impl_->shape.vocabulary) return {};
  std::string text(64, '\0');
  const auto convert = [&] {
    return llama_token_to_piece(impl_->vocabulary, token, text.data(),
                                static_cast<int32_t>(text.size()), 0, true);
  };
  int n = convert();
  if (n < 0) {
    text.resize(static_cast<size_t>(-n));
    n = convert();
  }
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return text;
}

bool Model::adds_bos() const { return llama_vocab_get_add_bos(impl_->vocabulary); }
Token Model::bos() const { return llama_vocab_bos(impl_->vocabulary); }
bool Model::ends_generation(Token token) const {
  return llama_vocab_is_eog(impl_->vocabulary, token);
}

Result<> Model::normalised_embeddings(std::span<const Token> tokens, MatrixView<float> out) const {
  const auto dim = static_cast<size_t>(impl_->shape.embedding_dim);
  if (out.rows != tokens.size() || out.cols != dim) {
    return Error{ErrorKind::usage, fmt::format("room for {} x {} embeddings, {} x {} are wanted",
                                               out.rows, out.cols, tokens.size(), dim)};
  }
  const GgufSource* file = nullptr;
  const SourceTensor* table = nullptr;
  for (const GgufSource& f : impl_->files) {
    if ((table = f.find(embedding)) != nullptr) {
      file = &f;
      break;
    }
  }
  const ggml_to_float_t to_float =
      table == nullptr ? nullptr : ggml_get_type_traits(table->type)->to_float;
  if (table == nullptr || table->ne[0] != dim || (!to_float && table->type != GGML_TYPE_F32)) {
    return Error{ErrorKind::unsupported,
                 fmt::format("{} has no {} with rows of {} numbers", path(), embedding, dim)};
  }
  std::vector<uint8_t> row(ggml_row_size(table->type, static_cast<int64_t>(dim)));
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || size_t(tokens[i]) >= table->ne[1]) {
      return Error{ErrorKind::usage,
                   fmt::format("token {} is not in 0 ... {}", tokens[i], table->ne[1] - 1)};
    }
    KVS_TRY(
        file->read_bytes(table->offset + size_t(tokens[i]) * row.size(), row.data(), row.size()));
    const std::span<float> x = out.row(i);
    if (table->type == GGML_TYPE_F32) {
      std::memcpy(x.data(), row.data(), row.size());
    } else {
      to_float(row.data(), x.data(), static_cast<int64_t>(dim));
    }
    double square = 0;
    for (float v : x) square += double(v) * v;
    const auto factor = static_cast<float>(1 / std::sqrt(square / double(dim) + 1e-8));
    for (float& v : x) v *= factor;
  }
  return {};
}

}  // namespace kvsplice::host
