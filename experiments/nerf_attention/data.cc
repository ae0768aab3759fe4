#include "experiments/nerf_attention/data.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "core/file.h"

namespace kvsplice::experiment::nerf {

namespace {

std::vector<int> fractions(int layers, std::initializer_list<double> of) {
  std::set<int> chosen;
  for (double f : of) chosen.insert(std::min(int(f * layers), layers - 1));
  return {chosen.begin(), chosen.end()};
}

std::vector<int> first(int n) {
  std::vector<int> all(static_cast<size_t>(n));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

// A dump that is there already, if it holds these texts of this model.
std::shared_ptr<Data> reuse(const std::string& path, const std::string& fingerprint,
                            const std::vector<std::string>& texts, size_t tokens,
                            const std::vector<int>& layers) {
  std::error_code unknown;
  if (!std::filesystem::exists(path, unknown)) return nullptr;
  auto dump = extract::Dump::open(path);
  if (!dump.ok()) return nullptr;
  const auto& info = dump->info();
  if (info.shape.fingerprint != fingerprint || info.texts.size() != texts.size()) return nullptr;
  if (info.layers != layers) return nullptr;
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto bytes = read_file(texts[i]);
    if (!bytes.ok() || info.texts[i].hash != hash128_hex(*bytes)) return nullptr;
    if (info.texts[i].tokens != tokens) return nullptr;
  }
  return std::make_shared<Data>(std::move(*dump));
}

class Extractor {
 public:
  Extractor(const host::Model& model, std::filesystem::path dir, const Progress& progress)
      : model_(model), dir_(std::move(dir)), progress_(progress) {}

  Result<std::shared_ptr<Data>> get(const std::string& name, const std::vector<std::string>& texts,
                                    size_t tokens, const std::vector<int>& layers) const {
    const std::string path = (dir_ / (name + ".gguf")).string();
    if (auto old = reuse(path, model_.shape().fingerprint, texts, tokens, layers)) return old;
    extract::ExtractOptions options;
    options.tokens = tokens;
    options.layers = layers;
    options.queries = false;
    KVS_TRY(extract::extract(model_, texts, options, path, progress_));
    KVS_ASSIGN(extract::Dump dump, extract::Dump::open(path));
    return std::make_shared<Data>(std::move(dump));
  }

 private:
  const host::Model& model_;
  std::filesystem::path dir_;
  const Progress& progress_;
};

// All texts in one file, for lengths that none of them has.
Result<std::string> join(const std::vector<std::string>& texts, const std::filesystem::path& dir) {
  std::string all;
  for (const std::string& path : texts) {
    KVS_ASSIGN(const std::string text, read_text(path));
    all += text + "\n\n";
  }
  const auto path = dir / "all_texts.txt";
  KVS_TRY(write_text(path, all));
  return path.string();
}

Result<std::shared_ptr<Data>> generate(const Options& of, size_t tokens,
                                       const std::filesystem::path& dir) {
  extract::SyntheticOptions options;
  options.tokens = tokens;
  if (of.heads == "first") options.heads = 1;
  const std::string path = (dir / ("synthetic_" + std::to_string(tokens) + ".gguf")).string();
  KVS_TRY(extract::extract_synthetic(options, path));
  KVS_ASSIGN(extract::Dump dump, extract::Dump::open(path));
  return std::make_shared<Data>(std::move(dump));
}

size_t longest_tokens(const Options& options) { return 2 * size_t(options.tokens); }

Result<Sources> open_synthetic(const Options& options, const std::filesystem::path& dir) {
  Sources sources;
  sources.synthetic = true;
  KVS_ASSIGN(sources.main, generate(options, size_t(options.tokens), dir));
  KVS_ASSIGN(sources.longest, generate(options, longest_tokens(options), dir));
  sources.places = places(sources.main->info().shape, options);
  return sources;
}

Result<Sources> open_model(const Options& options, const std::string& path,
                           const std::filesystem::path& dir, const Progress& progress) {
  const auto texts = split(options.text);
  if (texts.empty()) return Error{ErrorKind::usage, "nerf-attention.text names no file"};
  KVS_ASSIGN(host::Model loaded, host::Model::load(path));
  Sources sources;
  sources.model = std::make_shared<host::Model>(std::move(loaded));
  sources.texts = texts;
  const host::Model& model = *sources.model;
  sources.places = places(model.shape(), options);
  const auto& p = sources.places;
  const Extractor extractor(model, dir, progress);
  const size_t tokens = size_t(options.tokens);
  KVS_ASSIGN(sources.main, extractor.get("text", {texts[0]}, tokens, p.all_layers));
  if (texts.size() > 1 && options.wants("kinds")) {
    KVS_ASSIGN(sources.kinds, extractor.get("kinds", texts, tokens, p.few_layers));
  }
  if (options.wants("scaling")) {
    KVS_ASSIGN(const std::string joined, join(texts, dir));
    KVS_ASSIGN(sources.longest,
               extractor.get("long", {joined}, longest_tokens(options), p.few_layers));
  }
  return sources;
}

}  // namespace

size_t Data::dim(Signal signal, int layer) const {
  const LayerShape& shape = info().shape.layers[size_t(layer)];
  return size_t(signal == Signal::value ? shape.value_dim : shape.key_dim);
}

Result<Matrix<float>> Data::head(Signal signal, int layer, int head, size_t n, size_t text) const {
  const std::lock_guard lock(reading_);
  KVS_ASSIGN(const Matrix<float> rows, dump_.read(signal, layer, text * tokens(), n));
  const size_t width = dim(signal, layer);
  return copy(rows.view().col_range(size_t(head) * width, width));
}

Places places(const ModelShape& shape, const Options& options) {
  const int layers = int(shape.layers.size()), heads = shape.layers[0].kv_heads;
  Places p;
  p.all_layers = first(layers);
  p.few_layers = fractions(layers, {0, 0.5, 1});
  p.sweep_layers = options.layers == "few"   ? p.few_layers
                   : options.layers == "all" ? p.all_layers
                                             : fractions(layers, {0, 0.25, 0.5, 0.75, 1});
  p.heads = first(options.heads == "first" ? 1
                  : options.heads == "all" ? heads
                                           : std::min(heads, 4));
  return p;
}

Result<Sources> open_sources(const Options& options, const Setting& setting) {
  const auto dumps = setting.dir / "dumps";
  std::error_code failed;
  std::filesystem::create_directories(dumps, failed);
  if (failed) return Error{ErrorKind::io, dumps.string() + ": " + failed.message()};
  Sources sources;
  const auto open = [&]() -> Result<> {
    const bool generated = setting.model.empty() || options.synthetic == "yes";
    KVS_ASSIGN(sources, generated ? open_synthetic(options, dumps)
                                  : open_model(options, setting.model, dumps, setting.progress));
    return {};
  };
  KVS_TRY(setting.team.in_turn(dumps, "dumps", open, setting.progress));
  return sources;
}

}  // namespace kvsplice::experiment::nerf
