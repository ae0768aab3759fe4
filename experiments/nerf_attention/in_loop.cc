#include "experiments/nerf_attention/in_loop.h"

#include <fmt/format.h>

#include "codec/dump_source.h"
#include "core/file.h"
#include "experiments/nerf_attention/jobs.h"
#include "quality/quality.h"

namespace kvsplice::experiment::nerf {

namespace {

struct Method {
  std::string name;
  std::string keys, values;  // pipelines; empty where there is none
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

class Judge {
 public:
  static Result<Judge> create(const Sources& sources, const Options& options,
                              const std::filesystem::path& dir) {
    Judge judge;
    judge.model_ = sources.model.get();
    judge.setting_.n_ctx = options.loop_ctx;
    judge.setting_.chunks = options.loop_chunks;
    const auto& path = sources.texts[std::min<size_t>(1, sources.texts.size() - 1)];
    KVS_ASSIGN(const std::string text, read_text(path));
    KVS_ASSIGN(judge.tokens_, judge.model_->tokenize(text));
    KVS_ASSIGN(codec::DumpSource rows, codec::DumpSource::open({sources.main->dump().path()}, 4));
    judge.calibration_.emplace(std::move(rows));
    KVS_ASSIGN(judge.journal_, Journal<Judged>::open(dir / "in_loop.jsonl"));
    const auto bytes = std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    judge.prefix_ = fmt::format("{}/{}/{}/ctx{}/chunks{}/", judge.model_->shape().fingerprint,
                                sources.main->info().texts[0].hash, hash128_hex(bytes),
                                judge.setting_.n_ctx, judge.setting_.chunks);
    return judge;
  }

  size_t rows() const { return size_t(setting_.n_ctx) / 2 - size_t(setting_.sinks); }

  Result<> add(const Method& method, std::vector<Judged>& all, const Progress& progress) {
    for (Kind kind : {Kind::key, Kind::value}) {
      const std::string& pipeline = kind == Kind::key ? method.keys : method.values;
      if (pipeline.empty()) continue;
      const std::string key = prefix_ + name(kind) + "/" + pipeline;
      if (journal_.find(key) == nullptr) {
        KVS_ASSIGN(const Judged judged, judge(method, kind, pipeline, progress));
        KVS_TRY(journal_.add(key, judged));
      }
      all.push_back(*journal_.find(key));
    }
    return {};
  }

 private:
  Result<Judged> judge(const Method& method, Kind kind, const std::string& pipeline,
                       const Progress& progress) const {
    const std::string text =
        kind == Kind::key ? "k: " + pipeline + " ; v: f16" : "k: f16 ; v: " + pipeline;
    KVS_ASSIGN(const auto parsed, codec::parse_codec(text));
    KVS_ASSIGN(codec::Codec codec, codec::Codec::create(parsed, model_->shape()));
    if (method.learns) KVS_TRY(codec.fit(*calibration_, nullptr, progress));
    quality::Options setting = setting_;
    setting.step = setting.n_ctx / 2;
    KVS_ASSIGN(const auto outcomes,
               quality::measure(*model_, tokens_, {{method.name, std::nullopt, &codec}}, setting,
                                progress));
    const quality::Outcome &base = outcomes[outcomes.size() - 2], &o = outcomes.back();
    return Judged{method.name, name(kind), text,         ratio(o, kind), o.ppl,   base.ppl,
                  o.ppl_error, o.kld_mean, o.kld_median, o.top1_percent, o.scored};
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
                                          const std::filesystem::path& dir,
                                          const Progress& progress) {
  std::vector<Judged> all;
  if (sources.model == nullptr || !options.wants("loop")) return all;
  KVS_ASSIGN(Judge judge, Judge::create(sources, options, dir));
  const auto wanted = methods(judge.rows(), options);
  for (size_t i = 0; i < wanted.size(); ++i) {
    Progress inner;
    inner.on_step = [&](const std::string&, size_t, size_t) {
      return progress.step("ways judged in the loop", i, wanted.size()).ok();
    };
    KVS_TRY(judge.add(wanted[i], all, inner));
  }
  return all;
}

}  // namespace kvsplice::experiment::nerf
