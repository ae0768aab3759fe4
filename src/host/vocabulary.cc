// Text to tokens and back, and the rows of the token embedding.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <exception>
#include <limits>

#include "host/deep_stack.h"
#include "host/model_impl.h"
#include "host/texts.h"
#include "host/weights.h"

namespace kvsplice::host {

namespace {

// The number of tokens, or minus the room needed.
int tokenize_into(const llama_vocab* vocabulary, std::string_view text, bool markers,
                  std::vector<Token>& out) {
  return llama_tokenize(vocabulary, text.data(), static_cast<int32_t>(text.size()), out.data(),
                        static_cast<int32_t>(out.size()), false, markers);
}

Result<std::vector<Token>> tokenize_piece(const llama_vocab* vocabulary, std::string_view text,
                                          bool markers) {
  if (text.size() > size_t(std::numeric_limits<int32_t>::max()) / 2) {
    return Error{
        ErrorKind::usage,
        fmt::format("text of {} bytes without a place to cut it; at most 1 GiB", text.size())};
  }
  try {  // some tokenizers throw on malformed text
    std::vector<Token> tokens(text.size() + 16);
    int n = tokenize_into(vocabulary, text, markers, tokens);
    if (n < 0 && n > std::numeric_limits<int32_t>::min()) {
      tokens.resize(static_cast<size_t>(-n));
      n = tokenize_into(vocabulary, text, markers, tokens);
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

// With as much stack as a tokenizer may take that calls itself for each letter of a run: they take
// about 0.4 KB a letter. What is never touched costs nothing.
Result<std::vector<Token>> tokenize_deep(const llama_vocab* vocabulary, std::string_view text,
                                         bool markers) {
  constexpr size_t kShort = 1 << 12, kLeastStack = 64 << 20, kStackPerByte = 1 << 10;
  if (text.size() <= kShort) return tokenize_piece(vocabulary, text, markers);
  Result<std::vector<Token>> tokens;
  KVS_TRY(on_deep_stack(kLeastStack + longest_run(text) * kStackPerByte,
                        [&] { tokens = tokenize_piece(vocabulary, text, markers); }));
  return tokens;
}

std::string piece_of(const llama_vocab* vocabulary, Token token) {
  std::string text(64, '\0');
  const auto convert = [&] {
    return llama_token_to_piece(vocabulary, token, text.data(), static_cast<int32_t>(text.size()),
                                0, true);
  };
  int n = convert();
  if (n < 0) {
    text.resize(static_cast<size_t>(-n));
    n = convert();
  }
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return text;
}

bool has_vocabulary(const Model::Impl& model) {
  return llama_vocab_type(model.vocabulary) != LLAMA_VOCAB_TYPE_NONE;
}

const char embedding[] = "token_embd.weight";

}  // namespace

void learn_vocabulary(Model::Impl& model) {
  if (!has_vocabulary(model)) return;
  std::vector<std::string> pieces;
  for (Token t = 0; t < model.shape.vocabulary; ++t) {
    pieces.push_back(piece_of(model.vocabulary, t));
  }
  model.cuts = learn_cuts(pieces, [&](const std::string& text) {
    const auto tokens = tokenize_piece(model.vocabulary, text, false);
    return tokens.ok() ? *tokens : std::vector<Token>();
  });
  model.cuts.recurses = llama_vocab_type(model.vocabulary) == LLAMA_VOCAB_TYPE_BPE;
}

Result<std::vector<Token>> Model::Impl::tokenize_in_pieces(std::string_view text, bool markers,
                                                           size_t most) const {
  std::vector<Token> tokens;
  for (size_t at = 0, end = 0; at < text.size() && tokens.size() < most; at = end) {
    end = cuts.next(text, at);
    const size_t begin = at > 0 && cuts.drops_blank ? at + 1 : at;
    KVS_ASSIGN(const auto more,
               tokenize_deep(vocabulary, text.substr(begin, end - begin), markers));
    tokens.insert(tokens.end(), more.begin(), more.end());
  }
  return tokens;
}

Result<std::vector<Token>> Model::tokenize(const std::string& text) const {
  return host::tokenize(*this, text, {});
}

Result<std::vector<Token>> tokenize(const Model& model, std::string_view text,
                                    const TextOptions& o) {
  const Model::Impl& impl = model.impl();
  if (!has_vocabulary(impl)) {
    return Error{ErrorKind::unsupported, model.path() + " has no vocabulary to read texts with"};
  }
  constexpr size_t kMargin = 1 << 16;  // where this text is cut, tokens are not those of the whole
  const size_t longest = impl.cuts.longest_token;
  size_t bytes = o.most < text.size() / longest ? o.most * longest + kMargin : text.size();
  std::vector<Token> tokens;
  do {  // once, unless a token stands for more than its own bytes
    const std::string_view part = whole_characters(text, bytes);
    KVS_ASSIGN(tokens, impl.tokenize_in_pieces(part, o.markers, o.most));
    if (part.size() == text.size()) break;
    bytes *= 2;
  } while (tokens.size() < o.most);
  if (o.begins && model.adds_bos()) tokens.insert(tokens.begin(), model.bos());
  tokens.resize(std::min(tokens.size(), o.most));
  return tokens;
}

std::string Model::piece(Token token) const {
  if (token < 0 || token >= impl_->shape.vocabulary || !has_vocabulary(*impl_)) return {};
  return piece_of(impl_->vocabulary, token);
}

// Other tokenizers of llama.cpp put no token there, whatever the file says.
bool Model::adds_bos() const {
  const auto type = llama_vocab_type(impl_->vocabulary);
  const bool can =
      type == LLAMA_VOCAB_TYPE_SPM || type == LLAMA_VOCAB_TYPE_BPE || type == LLAMA_VOCAB_TYPE_UGM;
  return can && bos() >= 0 && llama_vocab_get_add_bos(impl_->vocabulary);
}

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
