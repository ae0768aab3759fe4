#include "loaded_coder.h"

#include <fmt/format.h>

#include "core/file.h"
#include "host/cache_block.h"
#include "host/context_cells.h"
#include "host/texts.h"

namespace kvsplice::app {

namespace {

Result<> check_lossless(const codec::Codec& codec, const std::string& path) {
  if (codec.of_cells()) return {};
  return Error{ErrorKind::usage, fmt::format("--lossless needs a codec of the stage 'exact', or "
                                             "none; {} is {}",
                                             path, codec::print(codec.text()))};
}

Result<std::vector<host::Token>> tokens_of(const host::Model& model, const TextToEvaluate& a) {
  KVS_ASSIGN(const std::string text, read_text(a.path));
  if (text.empty()) return Error{ErrorKind::usage, a.path + " is empty"};
  const auto limit = static_cast<size_t>(model.context_limit());
  KVS_ASSIGN(std::vector<host::Token> tokens,
             host::tokenize(model, text, {.most = a.tokens > 0 ? a.tokens : limit + 1}));
  if (a.tokens > tokens.size()) {
    return Error{ErrorKind::usage,
                 fmt::format("{} has {} tokens, {} are wanted", a.path, tokens.size(), a.tokens)};
  }
  if (tokens.size() <= limit) return tokens;
  return Error{
      ErrorKind::usage,
      fmt::format("{} has more tokens than the model allows, 1 ... {} (-n)", a.path, limit)};
}

// "; of it 0.042 MB are 2 recurrent states of 0.021 MB"; nothing if there are none.
std::string describe_states(const std::vector<session::StoredState>& states) {
  if (states.empty()) return "";
  uint64_t stored = 0;
  for (const auto& state : states) stored += state.record.length;
  return fmt::format("; of it {:.3f} MB are {} recurrent state{} of {:.3f} MB",
                     double(stored) / 1e6, states.size(), states.size() > 1 ? "s" : "",
                     double(states.back().bytes) / 1e6);
}

}  // namespace

Result<std::unique_ptr<LoadedCoder>> LoadedCoder::load(const std::string& model_path,
                                                       const std::string& codec_path, bool lossless,
                                                       const std::string& read_codec_path,
                                                       const host::ModelOptions& options) {
  auto loaded = std::make_unique<LoadedCoder>();
  if (model_path.empty() && codec_path.empty() && read_codec_path.empty()) {
    return Error{ErrorKind::usage, "name the model (-m), the codec (--codec), or both"};
  }
  if (!codec_path.empty()) {
    KVS_ASSIGN(loaded->codec, codec::Codec::load(codec_path));
    if (lossless) KVS_TRY(check_lossless(*loaded->codec, codec_path));
  }
  if (!read_codec_path.empty()) {
    KVS_ASSIGN(loaded->read_codec, codec::Codec::load(read_codec_path));
  }
  if (!model_path.empty()) {
    KVS_ASSIGN(loaded->model, host::Model::load(model_path, options));
    loaded->embeddings = host::embeddings_of(*loaded->model);
  }
  KVS_TRY(loaded->coder().check());
  KVS_TRY(loaded->read_coder().check());
  return loaded;
}

session::Coder LoadedCoder::coder() const {
  const ModelShape& shape = model ? model->shape() : codec ? codec->shape() : read_codec->shape();
  return {shape, codec ? &*codec : nullptr, model ? &embeddings : nullptr};
}

session::Coder LoadedCoder::read_coder() const {
  session::Coder coder = this->coder();
  if (read_codec) coder.codec = &*read_codec;
  return coder;
}

Result<> check_checkpoint(size_t checkpoint, const ModelShape& shape) {
  if (checkpoint == 0 || shape.hybrid()) return {};
  return Error{ErrorKind::usage,
               "--checkpoint is for models with recurrent layers; of this one any prefix can be "
               "restored"};
}

size_t until_checkpoint(size_t at, size_t most, size_t checkpoint) {
  return checkpoint == 0 ? most : std::min(most, checkpoint - at % checkpoint);
}

Result<Evaluated> evaluate_text(const host::Model& model, const TextToEvaluate& a,
                                const Progress& progress) {
  KVS_TRY(check_checkpoint(a.checkpoint, model.shape()));
  KVS_ASSIGN(const std::vector<host::Token> tokens, tokens_of(model, a));
  host::ContextOptions options;
  options.n_ctx = static_cast<int>(tokens.size());
  options.threads = a.threads;
  KVS_ASSIGN(host::Context context, host::Context::create(model, options));
  const auto chunk = static_cast<size_t>(model.options().most_at_once());
  Evaluated made;
  while (context.size() < tokens.size()) {
    const size_t at = context.size(), most = std::min(chunk, tokens.size() - at);
    const size_t n = until_checkpoint(at, most, a.checkpoint);
    KVS_TRY(progress.step("evaluate", at, tokens.size()));
    KVS_TRY(context.decode(std::span(tokens).subspan(at, n)));
    const bool wanted = a.checkpoint > 0 && context.size() % a.checkpoint == 0;
    if (!wanted || context.size() == tokens.size()) continue;  // the cells have the last one
    KVS_ASSIGN(auto state, context.recurrent_state());
    made.states.push_back(std::move(state));
  }
  KVS_ASSIGN(made.cells, host::cells_of(context, model.shape(), tokens));
  if (made.cells.recurrent) made.states.push_back(std::move(*made.cells.recurrent));
  return made;
}

std::string describe_size(const session::SessionReader& reader) {
  const size_t tokens = reader.index().tokens();
  ModelShape shape;
  shape.layers = reader.info().layers;
  const auto& states = reader.index().states;
  const double held = states.empty() ? 0 : double(states.back().bytes);  // one is in use
  const double f16 = shape.f16_bytes(tokens) + held;
  const double bytes = double(reader.file_bytes());
  return fmt::format("{} tokens in {:.3f} MB, {:.2f} times smaller than f16{}", tokens, bytes / 1e6,
                     f16 / bytes, describe_states(states));
}

}  // namespace kvsplice::app
