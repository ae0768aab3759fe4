// Text to tokens and back, and the rows of the token embedding.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <exception>
#include <limits>

#include "host/model_impl.h"
#include "host/weights.h"

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
  const Result<Weights> table = Weights::find(impl_->files, embedding);
  if (!table.ok() || table->cols() != dim) {
    return Error{ErrorKind::unsupported,
                 fmt::format("{} has no {} with rows of {} numbers", path(), embedding, dim)};
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || size_t(tokens[i]) >= table->rows()) {
      return Error{ErrorKind::usage,
                   fmt::format("token {} is not in 0 ... {}", tokens[i], table->rows() - 1)};
    }
    const std::span<float> x = out.row(i);
    KVS_TRY(table->read(size_t(tokens[i]), {x.data(), 1, dim}));
    double square = 0;
    for (float v : x) square += double(v) * v;
    const auto factor = static_cast<float>(1 / std::sqrt(square / double(dim) + 1e-8));
    for (float& v : x) v *= factor;
  }
  return {};
}

}  // namespace kvsplice::host
