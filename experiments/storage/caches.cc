#include "experiments/storage/caches.h"

#include <fmt/format.h>

#include <algorithm>

#include "calibrate/target.h"
#include "core/file.h"
#include "core/file_hash.h"
#include "experiments/text_hash.h"

namespace kvsplice::experiment::storage {

namespace {

using codec::CodecText;
using codec::PipelineText;
using codec::StageText;

using Edit = std::function<void(PipelineText&)>;

CodecText edited(CodecText text, const Edit& edit) {
  edit(text.key);
  edit(text.value);
  return text;
}

void set(PipelineText& pipeline, const std::string& stage, const std::string& key,
         const std::string& value) {
  for (StageText& s : pipeline) {
    if (s.name != stage) continue;
    std::erase_if(s.params, [&](const auto& param) { return param.first == key; });
    s.params.emplace_back(key, value);
  }
}

CodecText without_recall(const CodecText& text) {
  return edited(text, [](PipelineText& pipeline) { set(pipeline, "step", "recall", "0"); });
}

// Units and rows for themselves, all tokens and directions alike.
CodecText without_layers(const CodecText& text) {
  return without("layers", without("focus", without("fisher", without_recall(text))));
}

CodecText with_history(const CodecText& text, const std::string& embedding) {
  return edited(without_recall(text), [&](PipelineText& pipeline) {
    set(pipeline, "layers", "history", "1");
    set(pipeline, "layers", "embedding", embedding);
  });
}

// The KVSplice seed's warp in front, trained through a quarter of the columns.
CodecText behind_spline(const CodecText& text, const ModelShape& shape) {
  const auto& layer = shape.layers.front();
  const int width = std::min(layer.width(Kind::key), layer.width(Kind::value));
  return edited(without_layers(text), [&](PipelineText& pipeline) {
    pipeline.insert(
        pipeline.begin(),
        {"spline", {{"epochs", "4"}, {"rank", std::to_string(std::max(1, width / 4))}}});
    set(pipeline, "step", "of", "rows");
  });
}

void add_steps(std::vector<Cache>& all, const std::string& method, const CodecText& text,
               const std::string& factors) {
  for (double factor : numbers(factors)) {
    all.push_back({method, factor, std::nullopt, calibrate::scale_steps(text, factor), true});
  }
}

Result<> add_plain(std::vector<Cache>& all, const std::string& pipeline) {
  KVS_ASSIGN(const CodecText text, codec::parse_codec(pipeline));
  all.push_back({pipeline, 0, std::nullopt, text, false});
  return {};
}

// Of a test text: its longest chunk, or a prompt to go on from.
size_t tokens_needed(const Options& o) {
  size_t needed = 0;
  if (o.wants("rates")) needed = size_t(*std::max_element(o.ctx.begin(), o.ctx.end()));
  if (o.wants("calibration")) needed = std::max(needed, size_t(o.ctx.front()));
  if (o.wants("greedy")) needed = std::max(needed, size_t(o.greedy_prefix));
  return needed;
}

}  // namespace

std::string Cache::name() const {
  return factor > 0 ? fmt::format("{} x{:g}", method, factor) : method;
}

Result<CodecText> codec_text(const Options& options) { return codec::parse_codec(options.codec); }

Result<std::vector<Cache>> loop_caches(const Options& options, const ModelShape& shape) {
  using host::CacheType;
  std::vector<Cache> all = {{"q8_0", 0, CacheType::q8_0, {}, false},
                            {"q5_1", 0, CacheType::q5_1, {}, false},
                            {"q4_0", 0, CacheType::q4_0, {}, false},
                            {"floor", 0, {}, {}, false}};
  KVS_ASSIGN(const CodecText text, codec_text(options));
  const auto& few = options.other_factors;
  if (options.compares("klt")) add_steps(all, "klt", without_layers(text), few);
  if (options.compares("nearest")) add_steps(all, "nearest", with_history(text, "off"), few);
  if (options.compares("embedding")) add_steps(all, "embedding", with_history(text, "on"), few);
  if (options.compares("norecall")) add_steps(all, "norecall", without_recall(text), few);
  if (options.compares("unfocused")) add_steps(all, "unfocused", without("focus", text), few);
  if (options.compares("uninformed")) add_steps(all, "uninformed", without("fisher", text), few);
  add_steps(all, kCodec, text, options.factors);
  if (options.compares("spline")) add_steps(all, "spline", behind_spline(text, shape), few);
  if (options.compares("svd")) {
    for (int ratio : {2, 4, 8}) KVS_TRY(add_plain(all, fmt::format("svd(ratio={})", ratio)));
  }
  if (options.compares("siren")) KVS_TRY(add_plain(all, "siren(config=tiny,trainer=varpro)"));
  return all;
}

Result<std::vector<Cache>> prompt_caches(const Options& options) {
  using host::CacheType;
  std::vector<Cache> all = {{"f16", 0, CacheType::f16, {}, false},
                            {"q8_0", 0, CacheType::q8_0, {}, false},
                            {"q4_0", 0, CacheType::q4_0, {}, false}};
  KVS_ASSIGN(const CodecText detour, codec::parse_codec("f16"));
  all.push_back({"f16 detour", 0, {}, detour, false});
  KVS_ASSIGN(const CodecText text, codec_text(options));
  if (options.compares("klt")) add_steps(all, "klt", without_layers(text), options.other_factors);
  add_steps(all, kCodec, text, options.factors);
  for (const std::string& path : split(options.live)) {
    KVS_ASSIGN(auto form, live::LiveForm::load(path));
    const std::string name = "live " + std::filesystem::path(path).stem().string();
    all.push_back({name, 0, {}, {}, false, std::move(form)});
  }
  return all;
}

Result<Ground> open_ground(const host::Model& model, const Options& options,
                           const Setting& setting) {
  std::string what = fmt::format("{} {} {} {}", model.shape().fingerprint, options.calibration,
                                 options.sequence, options.sinks);
  for (const auto& path : split(options.text)) {
    KVS_ASSIGN(const FileHash file, hash_file(path));
    what += " " + file.hash;
  }
  return Ground{model, options, setting.dir, hash_of(what), setting.team, setting.progress};
}

namespace {

std::filesystem::path codecs_of(const Ground& ground) { return ground.dir / "codecs"; }

std::string path_of(const Ground& ground, const Fit& fit) {
  return (codecs_of(ground) / (hash_of(fit.what) + ".gguf")).string();
}

Result<codec::Codec> calibrated(const Ground& ground, const std::string& pipeline) {
  calibrate::CalibrateOptions options;
  options.pipeline = pipeline;
  options.tokens = size_t(ground.options.calibration);
  options.sequence = size_t(ground.options.sequence);
  options.sinks = size_t(ground.options.sinks);
  options.work = ground.work();
  options.team = ground.team;
  options.threads = ground.options.threads;
  KVS_ASSIGN(auto made,
             calibrate::calibrate(ground.model, ground.texts(), options, ground.progress));
  return std::move(made.codec);
}

std::unique_ptr<codec::Codec> boxed(codec::Codec codec) {
  return std::make_unique<codec::Codec>(std::move(codec));
}

}  // namespace

std::optional<Fit> fit_of(const Ground& ground, const Cache& cache) {
  if (!cache.text || !cache.learns) return std::nullopt;
  const std::string pipeline = codec::print(*cache.text);
  return Fit{ground.calibrated + pipeline,
             [&ground, pipeline] { return calibrated(ground, pipeline); }};
}

Result<> make_fits(const Ground& ground, const std::vector<Fit>& fits) {
  if (fits.empty()) return {};
  std::error_code unknown;
  std::filesystem::create_directories(codecs_of(ground), unknown);
  std::vector<sweep::Job> jobs;
  for (const Fit& fit : fits) {
    const std::string path = path_of(ground, fit);
    const auto work = [&fit, path]() -> Result<> {
      KVS_ASSIGN(OutputFile out, OutputFile::reserve(path));
      KVS_ASSIGN(const codec::Codec codec, fit.fit());
      return codec.save(std::move(out));
    };
    jobs.push_back(sweep::job_of_file(path, work));
  }
  return ground.team.share(codecs_of(ground), jobs, ground.progress);
}

Result<std::unique_ptr<codec::Codec>> fitted(const Ground& ground, const Fit& fit) {
  KVS_TRY(make_fits(ground, {fit}));
  KVS_ASSIGN(codec::Codec codec, codec::Codec::load(path_of(ground, fit)));
  return boxed(std::move(codec));
}

Result<std::unique_ptr<codec::Codec>> codec_of(const Ground& ground, const Cache& cache) {
  if (!cache.text) return std::unique_ptr<codec::Codec>();
  if (const auto fit = fit_of(ground, cache)) return fitted(ground, *fit);
  KVS_ASSIGN(codec::Codec codec, codec::Codec::create(*cache.text, ground.model.shape()));
  return boxed(std::move(codec));
}

Result<std::vector<TestText>> read_tests(const Ground& ground) {
  std::vector<TestText> all;
  for (const auto& path : split(ground.options.test_text)) {
    KVS_ASSIGN(const std::string text, read_text(path));
    TestText test{std::filesystem::path(path).stem().string(), hash_of(text), {}};
    KVS_ASSIGN(test.tokens, ground.model.tokenize(text));
    const size_t needed = tokens_needed(ground.options);
    if (test.tokens.size() < needed) {
      return Error{ErrorKind::usage, fmt::format("{} has {} tokens; this study needs {}", path,
                                                 test.tokens.size(), needed)};
    }
    all.push_back(std::move(test));
  }
  return all;
}

}  // namespace kvsplice::experiment::storage
