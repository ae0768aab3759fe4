#include "experiments/train/ground.h"

#include <fmt/format.h>

#include "core/file.h"
#include "core/file_hash.h"
#include "experiments/text_hash.h"
#include "host/model.h"

namespace kvsplice::experiment::train {

namespace {

constexpr size_t kChoicePart = 16;  // one of so many

using Tokens = std::vector<lm::Token>;

// A model with nothing in it, whose file llama.cpp tokenises by; every process of a team makes it.
Result<host::Model> tokenizer_of(const Ground& ground) {
  KVS_ASSIGN(const auto variants, variants_of(ground.options));
  const lm::Model<float> model(variants.front().shape, {});
  const auto path = (ground.dir / "vocabulary.gguf").string();
  const auto write = [&] {
    return lm::export_model(model, model.start(0), ground.vocabulary, path);
  };
  KVS_TRY(ground.team.in_turn(ground.dir, "vocabulary", write, ground.progress));
  return host::Model::load(path);
}

Result<Tokens> read_tokens(const host::Model& tokenizer, const std::string& path, size_t least) {
  KVS_ASSIGN(const std::string text, read_text(path));
  KVS_ASSIGN(Tokens tokens, tokenizer.tokenize(text));
  if (tokens.size() >= least) return tokens;
  return Error{ErrorKind::usage,
               fmt::format("{} has {} tokens; this study needs {}", path, tokens.size(), least)};
}

// Whole sequences of the tokens, at most so many tokens but one sequence at least.
JudgedText judged_text(const host::Model& tokenizer, const std::string& name, Tokens tokens,
                       size_t length, size_t most) {
  const size_t rows = std::min(tokens.size(), std::max(most, length + 1)) / (length + 1);
  tokens.resize(rows * (length + 1));
  JudgedText text{name, std::move(tokens), length, 0};
  for (size_t i = 0; i < text.tokens.size(); ++i) {
    if (i % (length + 1) != 0) text.bytes += tokenizer.piece(text.tokens[i]).size();
  }
  return text;
}

}  // namespace

Result<Ground> open_ground(const Options& o, const Setting& setting) {
  Ground ground;
  ground.options = o, ground.dir = setting.dir;
  ground.team = setting.team, ground.progress = setting.progress;
  KVS_ASSIGN(ground.vocabulary, lm::first_tokens(setting.model, size_t(o.vocabulary)));
  KVS_ASSIGN(const host::Model tokenizer, tokenizer_of(ground));
  std::string what = fmt::format("{} {} {} {} {} {} {}", o.vocabulary, o.layers, o.steps, o.batch,
                                 o.rate, o.calibration, o.test_tokens);
  const size_t length = size_t(o.length), least = 2 * kChoicePart * (length + 1);
  Tokens choice;
  for (const auto& path : split(o.text)) {
    KVS_ASSIGN(const FileHash file, hash_file(path));
    what += " " + file.hash;
    KVS_ASSIGN(const Tokens tokens, read_tokens(tokenizer, path, least));
    const auto end = tokens.end() - ptrdiff_t(tokens.size() / kChoicePart);
    ground.training.insert(ground.training.end(), tokens.begin(), end);
    choice.insert(choice.end(), end, tokens.end());
  }
  const size_t most = size_t(o.test_tokens);
  ground.judged.push_back(judged_text(tokenizer, "choice", std::move(choice), length, most));
  for (const auto& path : split(o.test_text)) {
    KVS_ASSIGN(const FileHash file, hash_file(path));
    if (what.find(file.hash) != std::string::npos) {
      return Error{ErrorKind::usage, path + " is trained on, or judged on twice"};
    }
    what += " " + file.hash;
    KVS_ASSIGN(Tokens tokens, read_tokens(tokenizer, path, length + 1));
    const std::string name = std::filesystem::path(path).stem().string();
    ground.judged.push_back(judged_text(tokenizer, name, std::move(tokens), length, most));
  }
  KVS_ASSIGN(const FileHash file, hash_file(setting.model));
  ground.identity = hash_of(what + " " + file.hash);
  return ground;
}

}  // namespace kvsplice::experiment::train
