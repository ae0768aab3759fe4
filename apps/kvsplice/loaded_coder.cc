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

Result<host::StateCells> evaluate_text(const host::Model& model, const std::string& text_path,
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
  const auto chunk = static_cast<size_t>(model.options().most_at_once());
  for (size_t at = 0; at < tokens.size(); at += chunk) {
    KVS_TRY(progress.step("evaluate", at, tokens.size()));
    KVS_TRY(context.decode(std::span(tokens).subspan(at, std::min(chunk, tokens.size() - at))));
  }
  return host::cells_of(context, model.shape(), tokens);
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
