#include "experiments/nerf_attention/in_loop.h"

#include <fmt/format.h>

#include "core/file.h"
#include "experiments/nerf_attention/jobs.h"
#include "fit/dump_source.h"
#include "fit/fit_codec.h"
#include "quality/quality.h"

namespace kvsplice::experiment::nerf {

namespace {

struct Method {
  std::string name;
  std::string keys, values;  // pipelines; values may have none
  bool learns = false;       // from calibration rows
};

// The same pipeline for values and for keys as stored.
Method both(const std::string& name, const std::string& pipeline, bool learns = false) {
  return {name, "rotate | " + pipeline, pipeline, learns};
}

std::vector<Method> methods(size_t rows, const Options& options) {
  std::vector<Method> all;
  for (const auto& config : options.networks()) {
    all.push_back(
        both("network, " + config, fmt::format("siren(config={},trainer=varpro)", config)));
  }
  all.push_back({"network, medium, before RoPE", "siren(config=medium,trainer=varpro)", "", false});
  all.push_back({"rotated mean", "rotmean", "", true});
  all.push_back(both("constant mean", "rotmean", true));
  for (int ratio : {2, 4, 8}) {
    all.push_back(both(fmt::format("SVD, ratio {}", ratio), fmt::format("svd(ratio={})", ratio)));
  }
  for (size_t part : {4, 8}) {
    all.push_back(both(fmt::format("cosine basis, 1/{}", part),
                       fmt::format("dct(count={},type=f32)", rows / part)));
  }
  all.push_back(
      both("Fourier features, 1/4", fmt::format("fourier(count={},type=f32)", rows / 8), true));
  return all;
}

std::vector<Kind> kinds(const Method& method) {
  if (method.values.empty()) return {Kind::key};
  return {Kind::key, Kind::value};
}

std::string pipeline(const Method& method, Kind kind) {
  return kind == Kind::key ? "k: " + method.keys + " ; v: f16" : "k: f16 ; v: " + method.values;
}

class Judge {
 public:
  static Result<Judge> create(const Sources& sources, const Options& options,
                              const std::filesystem::path& dir) {
    KVS_ASSIGN(auto journal, Journal<Judged>::open(dir / "in_loop.jsonl"));
    Judge judge(std::move(journal));
    judge.model_ = sources.model.get();
    judge.setting_.n_ctx = options.loop_ctx;
    judge.setting_.chunks = options.loop_chunks;
    judge.setting_.step = options.loop_ctx / 2;
    const auto& path = sources.texts[std::min<size_t>(1, sources.texts.size() - 1)];
    KVS_ASSIGN(const std::string text, read_text(path));
    KVS_ASSIGN(judge.tokens_, judge.model_->tokenize(text));
    KVS_ASSIGN(codec::DumpSource rows, codec::DumpSource::open({sources.main->dump().path()}, 4));
    judge.calibration_.emplace(std::move(rows));
    const auto bytes = std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    judge.prefix_ = fmt::format("{}/{}/{}/ctx{}/chunks{}/", judge.model_->shape().fingerprint,
                                sources.main->info().texts[0].hash, hash128_hex(bytes),
                                judge.setting_.n_ctx, judge.setting_.chunks);
    return judge;
  }

  size_t rows() const { return size_t(setting_.n_ctx) / 2 - size_t(setting_.sinks); }

  std::string key(const Method& method, Kind kind) const {
    return prefix_ + pipeline(method, kind);
  }

  bool is_done(const Method& method) { return missing(method).empty(); }

  // One run for both kinds, so that they share its base.
  Result<> judge(const Method& method, const Progress& progress) {
    const std::vector<Kind> kinds = missing(method);
    KVS_ASSIGN(const auto codecs, codecs_of(method, kinds, progress));
    std::vector<quality::Subject> subjects;
    for (const auto& codec : codecs) subjects.push_back({method.name, std::nullopt, &codec});
    KVS_ASSIGN(const auto outcomes,
               quality::measure(*model_, tokens_, subjects, setting_, progress));
    const size_t first = outcomes.size() - kinds.size();
    for (size_t i = 0; i < kinds.size(); ++i) {
      const quality::Outcome& o = outcomes[first + i];
      KVS_TRY(journal_.add(key(method, kinds[i]),
                           {method.name, name(kinds[i]), o.pipeline, ratio(o, kinds[i]), o.ppl,
                            outcomes[first - 1].ppl, o.ppl_error, o.kld_mean, o.kld_median,
                            o.top1_percent, o.scored}));
    }
    return {};
  }

  void collect(const Method& method, std::vector<Judged>& all) const {
    for (Kind kind : kinds(method)) all.push_back(*journal_.find(key(method, kind)));
  }

 private:
  explicit Judge(Journal<Judged> journal) : journal_(std::move(journal)) {}

  std::vector<Kind> missing(const Method& method) {
    std::vector<Kind> some;
    for (Kind kind : kinds(method)) {
      if (!journal_.has(key(method, kind))) some.push_back(kind);
    }
    return some;
  }

  Result<std::vector<codec::Codec>> codecs_of(const Method& method, const std::vector<Kind>& kinds,
                                              const Progress& progress) const {
    std::vector<codec::Codec> codecs;
    for (Kind kind : kinds) {
      KVS_ASSIGN(const auto parsed, codec::parse_codec(pipeline(method, kind)));
      auto codec = method.learns
                       ? codec::fit_codec(parsed, model_->shape(), *calibration_, nullptr, progress)
                       : codec::Codec::create(parsed, model_->shape());
      if (!codec.ok()) return codec.error();
      codecs.push_back(std::move(*codec));
    }
    return codecs;
  }

  // The other kind takes 16 bits a value.
  double ratio(const quality::Outcome& o, Kind kind) const {
    double widths[2] = {0, 0};
    for (const LayerShape& layer : model_->shape().layers) {
      widths[0] += double(layer.width(kind));
      widths[1] += double(layer.width(kind == Kind::key ? Kind::value : Kind::key));
    }
    const double bits = o.bits_per_value * (widths[0] + widths[1]) - 16 * widths[1];
    return 16 * widths[0] / bits;
  }

  const host::Model* model_ = nullptr;
  quality::Options setting_;
  std::vector<host::Token> tokens_;
  std::optional<codec::DumpSource> calibration_;
  Journal<Judged> journal_;
  std::string prefix_;  // of the journal's keys
};

}  // namespace

Result<std::vector<Judged>> judge_in_loop(const Sources& sources, const Options& options,
                                          const Setting& setting) {
  std::vector<Judged> all;
  if (sources.model == nullptr || !options.wants("loop")) return all;
  KVS_ASSIGN(Judge judge, Judge::create(sources, options, setting.dir));
  const auto wanted = methods(judge.rows(), options);
  std::vector<sweep::Job> jobs;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const Method& method = wanted[i];
    const auto work = [&, i] {
      const auto at_this_place = [&](const std::string&, size_t, size_t) {
        return setting.progress.step("ways judged in the loop", i, wanted.size()).ok();
      };
      return judge.judge(method, {at_this_place});
    };
    jobs.push_back({judge.key(method, Kind::key), [&] { return judge.is_done(method); }, work});
  }
  KVS_TRY(setting.team.share(setting.dir, jobs, setting.progress));
  for (const Method& method : wanted) judge.collect(method, all);
  return all;
}

}  // namespace kvsplice::experiment::nerf
