// Loading, and refusing by name what KVSplice does not handle.
#include "host/model.h"

#include <fmt/format.h>

#include <mutex>

#include "gguf/model_file.h"
#include "host/devices.h"
#include "host/log.h"
#include "host/model_impl.h"

namespace kvsplice::host {

namespace {

Error refused(const Model::Impl& model, const std::string& why) {
  return {ErrorKind::unsupported,
          fmt::format("{}: architecture '{}' {}; KVSplice handles decoders with a key-value cache",
                      model.path, model.shape.architecture, why)};
}

Result<std::vector<GgufSource>> open_files(const std::string& path) {
  KVS_ASSIGN(const auto parts, gguf::files_of_model(path));
  std::vector<GgufSource> files;
  for (const std::string& part : parts) {
    KVS_ASSIGN(GgufSource file, GgufSource::open(part));
    files.push_back(std::move(file));
  }
  return files;
}

// Some of these llama.cpp could not even load, so they are told by the metadata.
Result<> check_metadata(const Model::Impl& model) {
  if (model.shape.architecture.empty()) {
    return Error{
        ErrorKind::format,
        fmt::format("{} is a GGUF file but not a model: no general.architecture", model.path)};
  }
  return {};
}

Result<> check_architecture(const Model::Impl& model) {
  const llama_model* m = model.model.get();
  if (llama_model_is_recurrent(m)) return refused(model, "is recurrent");
  if (llama_model_is_diffusion(m)) return refused(model, "is a diffusion model");
  if (llama_model_has_encoder(m) || !llama_model_has_decoder(m)) {
    return refused(model, "has an encoder");
  }
  return {};
}

Result<> load_llama(Model::Impl& model) {
  static std::once_flag started;
  std::call_once(started, llama_backend_init);
  KVS_TRY(find_devices(model.options));
  listen_to_log();
  llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = model.options.gpu_layers;
  if (!model.options.mmap) params.load_mode = LLAMA_LOAD_MODE_NONE;
  model.model.reset(llama_model_load_from_file(model.path.c_str(), params));
  if (!model.model) {
    return Error{kind_of_log_error(ErrorKind::format),
                 fmt::format("llama.cpp cannot load {}: {}", model.path,
                             first_log_error("no reason given"))};
  }
  model.vocabulary = llama_model_get_vocab(model.model.get());
  model.shape.embedding_dim = llama_model_n_embd(model.model.get());
  model.shape.vocabulary = llama_vocab_n_tokens(model.vocabulary);
  return {};
}

// llama.cpp takes the other table for contexts of more tokens than the model had at first: one more
// does. 0: any context will do.
int least_context(const std::vector<GgufSource>& files, const std::string& architecture,
                  int wanted) {
  const bool turns_otherwise = std::any_of(files.begin(), files.end(), [](const GgufSource& file) {
    return file.find("rope_factors_long.weight") != nullptr;
  });
  const int64_t first =
      files.front().integer_or(architecture + ".rope.scaling.original_context_length", INT32_MAX);
  return turns_otherwise && wanted > first ? static_cast<int>(first) + 1 : 0;
}

}  // namespace

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

Result<Model> Model::load(const std::string& path, const ModelOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->options = options;
  KVS_ASSIGN(impl->files, open_files(path));
  const GgufSource& file = impl->files.front();
  impl->shape.architecture = file.text_or("general.architecture", "");
  impl->shape.model_name = file.text_or("general.name", "");
  KVS_TRY(check_metadata(*impl));
  impl->options.context = least_context(impl->files, impl->shape.architecture, options.context);
  KVS_TRY(load_llama(*impl));
  KVS_TRY(check_architecture(*impl));
  const llama_rope_type rope = llama_model_rope_type(impl->model.get());
  impl->shape.places = rope == LLAMA_ROPE_TYPE_MROPE || rope == LLAMA_ROPE_TYPE_IMROPE;
  if (Result<> found = discover_layers(*impl); !found.ok()) {
    return Error{found.error().kind, fmt::format("{}: architecture '{}': {}", path,
                                                 impl->shape.architecture, found.error().message)};
  }
  learn_vocabulary(*impl);
  KVS_ASSIGN(impl->shape.fingerprint, gguf::fingerprint_of_model(path));
  return Model(std::move(impl));
}

const ModelShape& Model::shape() const { return impl_->shape; }
std::span<const Scoring> Model::scoring() const { return impl_->scoring; }
const std::string& Model::path() const { return impl_->path; }
const ModelOptions& Model::options() const { return impl_->options; }

uint64_t Model::file_bytes() const {
  uint64_t bytes = 0;
  for (const GgufSource& file : impl_->files) bytes += file.file_bytes();
  return bytes;
}

int Model::context_limit() const { return llama_model_n_ctx_train(impl_->model.get()); }

}  // namespace kvsplice::host
