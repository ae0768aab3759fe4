#include "loaded_coder.h"

#include <fmt/format.h>

#include "codec/cache_io.h"
#include "core/file.h"
#include "host/texts.h"
#include "session/state_rows.h"

namespace kvsplice::app {

Result<std::unique_ptr<LoadedCoder>> LoadedCoder::load(const std::string& model_path,
                                                       const std::string& codec_path,
                                                       bool lossless) {
  auto loaded = std::make_unique<LoadedCoder>();
  if (model_path.empty() && codec_path.empty()) {
    return Error{ErrorKind::usage, "name the model (-m), the codec (--codec), or both"};
  }
  if (!codec_path.empty()) {
    KVS_ASSIGN(loaded->codec, codec::Codec::load(codec_path));
    if (lossless && !loaded->codec->of_cells()) {
      return Error{ErrorKind::usage,
                   fmt::format("--lossless needs a codec of the stage 'exact', or "
                               "none; {} is {}",
                               codec_path, codec::print(loaded->codec->text()))};
    }
  }
  if (!model_path.empty()) {
    KVS_ASSIGN(loaded->model, host::Model::load(model_path));
    loaded->embeddings = codec::embeddings_of(*loaded->model);
  }
  KVS_TRY(loaded->coder().check());
  return loaded;
}

session::Coder LoadedCoder::coder() const {
  return {model ? model->shape() : codec->shape(), codec ? &*codec : nullptr,
          model ? &embeddings : nullptr};
}

Result<session::Cells> evaluate_text(const host::Model& model, const std::string& text_path,
                                     size_t n, int threads, const Progress& progress) {
  KVS_ASSIGN(const std::string text, read_text(text_path));
  if (text.empty()) return Error{ErrorKind::usage, text_path + " is empty"};
  const auto limit = static_cast<size_t>(model.context_limit());
  KVS_ASSIGN(std::vector<host::Token> tokens,
             host::tokenize(model, text, {.most = n > 0 ? n : limit + 1}));
  if (n > tokens.size()) {
    return Error{ErrorKind::usage,
                 fmt::format("{} has {} tokens, {} are wanted", text_path, tokens.size(), n)};
  }
  if (tokens.size() > limit) {
    return Error{
        ErrorKind::usage,
        fmt::format("{} has more tokens than the model allows, 1 ... {} (-n)", text_path, limit)};
  }
  host::ContextOptions options;
  options.n_ctx = static_cast<int>(tokens.size());
  options.threads = threads;
  KVS_ASSIGN(host::Context context, host::Context::create(model, options));
  const auto chunk = static_cast<size_t>(options.n_ubatch);
  for (size_t at = 0; at < tokens.size(); at += chunk) {
    KVS_TRY(progress.step("evaluate", at, tokens.size()));
    KVS_TRY(context.decode(std::span(tokens).subspan(at, std::min(chunk, tokens.size() - at))));
  }
  return cells_of(context, model.shape(), tokens);
}

Result<session::Cells> cells_of(const host::Context& context, const ModelShape& shape,
                                std::span<const int32_t> tokens) {
  KVS_ASSIGN(const Bytes state, context.save_state());
  KVS_ASSIGN(const session::StateBlob blob, session::parse_state(state));
  KVS_ASSIGN(session::StateCells made, session::to_cells(blob, shape, tokens));
  return std::move(made.cells);
}

std::string describe_size(const session::SessionReader& reader) {
  const size_t tokens = reader.index().tokens();
  ModelShape shape;
  shape.layers = reader.info().layers;
  const double f16 = shape.f16_bytes(tokens);
  const double bytes = double(reader.file_bytes());
  return fmt::format("{} tokens in {:.3f} MB, {:.2f} times smaller than f16", tokens, bytes / 1e6,
                     f16 / bytes);
}

}  // namespace kvsplice::app
