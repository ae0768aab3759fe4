#include "experiments/train/runs.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <numeric>

#include "calibrate/calibrate.h"
#include "experiments/train/judge.h"
#include "quality/quality.h"
#include "train/lm/trainer.h"

namespace kvsplice::experiment::train {

namespace {

constexpr size_t kConversionPart = 5;  // one of so many steps

// One variant with one seed.
struct Run {
  const Variant& variant;
  int seed;
  std::string name() const { return fmt::format("{}, seed {}", variant.name, seed); }
};

class Runs {
 public:
  static Result<Runs> open(const Ground& ground) {
    KVS_ASSIGN(auto trainings, Journal<Training>::open(ground.dir / "trainings.jsonl"));
    KVS_ASSIGN(auto points, Journal<Point>::open(ground.dir / "points.jsonl"));
    KVS_ASSIGN(auto looped, Journal<Looped>::open(ground.dir / "loop.jsonl"));
    KVS_ASSIGN(auto variants, variants_of(ground.options));
    return Runs(ground, std::move(variants), std::move(trainings), std::move(points),
                std::move(looped));
  }

  Result<Measurements> all() {
    std::vector<Run> runs;
    for (int seed = 0; seed < ground_.options.seeds; ++seed) {
      for (const Variant& variant : variants_) runs.push_back({variant, seed});
    }
    total_ = runs.size();
    for (const Run& run : runs) {
      KVS_TRY(finish(run));
      ++done_;
    }
    return std::move(found_);
  }

 private:
  using Parameters = std::vector<float>;

  Runs(const Ground& ground, std::vector<Variant> variants, Journal<Training> trainings,
       Journal<Point> points, Journal<Looped> looped)
      : ground_(ground),
        variants_(std::move(variants)),
        trainings_(std::move(trainings)),
        points_(std::move(points)),
        looped_(std::move(looped)) {}

  std::string key_of(const Run& run) const {
    const lm::Shape& s = run.variant.shape;
    const lm::CacheForm& f = run.variant.form;
    return fmt::format("{}/{}x{}x{}/{}x{}/{}/{}/{}+{}/{}/seed{}", ground_.identity, s.layers,
                       s.width, s.hidden, s.heads, s.kv_heads, s.length, run.variant.name, f.step,
                       f.price, run.variant.converted, run.seed);
  }

  // Of a unit of work of the whole study.
  Progress progress_of(const std::string& what) const {
    constexpr size_t kParts = 1000;
    return {[this, what](const std::string&, size_t done, size_t total) {
      const size_t part = kParts * done / std::max<size_t>(total, 1);
      return ground_.progress.step(what, kParts * done_ + part, kParts * total_).ok();
    }};
  }

  // Trains unless that was done before, and measures what is missing.
  Result<> finish(const Run& run) {
    const std::string key = key_of(run);
    const lm::Model<float> model(run.variant.shape, run.variant.form);
    Parameters parameters;  // read when they are wanted
    if (trainings_.find(key) == nullptr) {
      KVS_ASSIGN(parameters, parameters_of(run, model));
    }
    found_.trainings.push_back(*trainings_.find(key));
    KVS_TRY(judge(run, model, parameters));
    if (run.seed < ground_.options.loop_seeds && model.affine()) {
      KVS_TRY(loop(run, model, parameters));
    }
    return {};
  }

  Result<> want(const Run& run, const lm::Model<float>& model, Parameters& parameters) {
    if (!parameters.empty()) return {};
    KVS_ASSIGN(parameters, parameters_of(run, model));
    return {};
  }

  // Of the file, or trained.
  Result<Parameters> parameters_of(const Run& run, const lm::Model<float>& model) {
    const std::string key = key_of(run);
    const auto path = ground_.dir / "weights" / (hash_of(key) + ".gguf");
    std::error_code unknown;
    if (trainings_.find(key) != nullptr && std::filesystem::exists(path, unknown)) {
      return lm::load_parameters(model.layout(), path.string());
    }
    std::filesystem::create_directories(path.parent_path(), unknown);
    KVS_ASSIGN(Parameters parameters, start_of(run, model));
    KVS_TRY(train(run, model, parameters));
    KVS_TRY(lm::save_parameters(model.layout(), parameters, path.string()));
    KVS_TRY(trainings_.add(key, newest_));
    return parameters;
  }

  Result<Parameters> start_of(const Run& run, const lm::Model<float>& model) {
    if (!run.variant.converted) return model.start(uint64_t(run.seed));
    const Run from{variants_.front(), run.seed};
    const lm::Model<float> full(from.variant.shape, from.variant.form);
    KVS_ASSIGN(const Parameters parameters, parameters_of(from, full));
    return lm::convert(full, parameters, model);
  }

  Result<> train(const Run& run, const lm::Model<float>& model, Parameters& parameters) {
    const Options& o = ground_.options;
    const lm::Sequences data(ground_.training, run.variant.shape.length, uint64_t(run.seed));
    lm::TrainOptions options;
    options.steps = size_t(o.steps) / (run.variant.converted ? kConversionPart : 1);
    options.batch = size_t(o.batch);
    options.rate = o.rate;
    options.seed = uint64_t(run.seed);
    const auto begin = std::chrono::steady_clock::now();
    KVS_ASSIGN(const double loss,
               lm::train(model, data, options, parameters, progress_of("training " + run.name())));
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    newest_ = {run.variant.name,
               run.seed,
               parameters.size(),
               options.steps * options.batch * run.variant.shape.length,
               loss,
               time.count()};
    return {};
  }

  Result<> judge(const Run& run, const lm::Model<float>& model, Parameters& parameters) {
    std::optional<Judge> judge;
    for (const JudgedText& text : ground_.judged) {
      for (const Store& store : stores_of(ground_.options)) {
        const std::string key = key_of(run) + "/" + text.name + "/" + store.name;
        if (points_.find(key) == nullptr) {
          KVS_TRY(progress_of("judging " + run.name()).step("", 1, 1));
          KVS_TRY(want(run, model, parameters));
          if (!judge) judge.emplace(ground_, model, parameters);
          KVS_ASSIGN(const Judged j, judge->judge(text, store));
          KVS_TRY(points_.add(key, {run.variant.name, run.seed, text.name, store.name,
                                    j.bytes_per_token, j.nats_per_byte}));
        }
        found_.points.push_back(*points_.find(key));
      }
    }
    return {};
  }

  // Exported, with llama.cpp's caches and the default codec, on the first test text.
  Result<> loop(const Run& run, const lm::Model<float>& model, Parameters& parameters) {
    const std::string caches[] = {"f16", "q8_0", "q4_0", "default"};
    const std::string prefix = key_of(run) + fmt::format("/{}/", ground_.options.loop_calibration);
    if (looped_.find(prefix + caches[3]) == nullptr) {
      KVS_TRY(want(run, model, parameters));
      KVS_TRY(measure_loop(run, model, parameters, prefix));
    }
    for (const auto& cache : caches) found_.looped.push_back(*looped_.find(prefix + cache));
    return {};
  }

  Result<> measure_loop(const Run& run, const lm::Model<float>& model, const Parameters& parameters,
                        const std::string& prefix) {
    const Progress progress = progress_of("in llama.cpp: " + run.name());
    const auto path = (ground_.dir / "exported.gguf").string();
    KVS_TRY(lm::export_model(model, parameters, ground_.vocabulary, path));
    KVS_ASSIGN(const host::Model loaded, host::Model::load(path));
    calibrate::CalibrateOptions calibration;
    calibration.tokens = size_t(ground_.options.loop_calibration);
    calibration.sequence = run.variant.shape.length;
    calibration.threads = 1;  // llama.cpp's models this small lose by more
    KVS_ASSIGN(const auto made,
               calibrate::calibrate(loaded, split(ground_.options.text), calibration, progress));
    const JudgedText& text = ground_.judged[1];
    quality::Options options;
    options.n_ctx = int(text.length);
    options.chunks = int(text.tokens.size() / text.length);
    options.threads = 1;
    const std::vector<quality::Subject> subjects = {{"q8_0", host::CacheType::q8_0, nullptr},
                                                    {"q4_0", host::CacheType::q4_0, nullptr},
                                                    {"default", {}, &made.codec}};
    KVS_ASSIGN(const auto outcomes,
               quality::measure(loaded, text.tokens, subjects, options, progress));
    const double f16 = double(loaded.shape().f16_bytes_per_token());
    for (const auto& o : outcomes) {
      if (o.cache.starts_with("f16 (")) continue;
      Looped row{run.variant.name, run.seed,        text.name,  o.cache,
                 f16 / o.ratio,    std::log(o.ppl), o.kld_mean, 0};
      if (o.cache == "f16") row.own_nats_per_token = own_loss(model, parameters, text);
      KVS_TRY(looped_.add(prefix + o.cache, row));
    }
    return {};
  }

  // The mean loss of what quality::measure scores: of chunks, positions length / 2 ... length - 2.
  static double own_loss(const lm::Model<float>& model, const Parameters& parameters,
                         const JudgedText& text) {
    const size_t length = text.length;
    double sum = 0, count = 0;
    for (size_t first = 0; first + length <= text.tokens.size(); first += length) {
      Matrix<lm::Token> chunk(1, length + 1);  // the last token is not scored
      std::copy_n(text.tokens.begin() + ptrdiff_t(first), length, chunk.data());
      const auto losses = *model.losses(parameters, chunk);
      for (size_t i = length / 2; i + 1 < length; ++i) sum += double(losses[i]), ++count;
    }
    return sum / count;
  }

  const Ground& ground_;
  std::vector<Variant> variants_;
  Journal<Training> trainings_;
  Journal<Point> points_;
  Journal<Looped> looped_;
  Measurements found_;
  Training newest_;
  size_t done_ = 0, total_ = 0;
};

}  // namespace

Result<Measurements> measure_all(const Ground& ground) {
  KVS_ASSIGN(Runs runs, Runs::open(ground));
  return runs.all();
}

}  // namespace kvsplice::experiment::train
