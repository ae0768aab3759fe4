#include "experiments/train/runs.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <numeric>

#include "calibrate/calibrate.h"
#include "core/temporary_folder.h"
#include "experiments/text_hash.h"
#include "experiments/train/judge.h"
#include "quality/quality.h"
#include "train/lm/trainer.h"

namespace kvsplice::experiment::train {

namespace {

constexpr size_t kConversionPart = 5;                                      // one of so many steps
constexpr const char* kLoopCaches[] = {"f16", "q8_0", "q4_0", "default"};  // the last one last

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
    std::vector<sweep::Job> jobs;
    for (const Run& run : runs) {
      jobs.push_back({key_of(run), [this, &run] { return is_done(run); },
                      [this, &run] { return finish(run); }});
    }
    KVS_TRY(ground_.team.share(ground_.dir, jobs, ground_.progress));
    Measurements found;
    for (const Run& run : runs) collect(run, found);
    return found;
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

  bool is_done(const Run& run) {
    const bool done = trainings_.has(key_of(run)) && missing(run).empty() && !lacks_loop(run);
    done_ += done;  // by another process, or in another run: nobody asks about what was done here
    return done;
  }

  // Trains unless that was done before, and measures what is missing.
  Result<> finish(const Run& run) {
    const lm::Model<float> model(run.variant.shape, run.variant.form);
    Parameters parameters;  // read when they are wanted
    if (!trainings_.has(key_of(run))) {
      KVS_ASSIGN(parameters, parameters_of(run, model));
    }
    KVS_TRY(judge(run, model, parameters));
    if (lacks_loop(run)) {
      KVS_TRY(want(run, model, parameters));
      KVS_TRY(measure_loop(run, model, parameters));
    }
    ++done_;
    return {};
  }

  void collect(const Run& run, Measurements& found) const {
    found.trainings.push_back(*trainings_.find(key_of(run)));
    for (const Judging& j : judgings_of(run)) found.points.push_back(*points_.find(j.key));
    if (!is_looped(run)) return;
    for (const char* cache : kLoopCaches) {
      found.looped.push_back(*looped_.find(loop_prefix(run) + cache));
    }
  }

  // A text and a way to store the cache.
  struct Judging {
    std::string key;
    const JudgedText& text;
    Store store;
  };
  std::vector<Judging> judgings_of(const Run& run) const {
    std::vector<Judging> all;
    for (const JudgedText& text : ground_.judged) {
      for (const Store& store : stores_of(ground_.options)) {
        all.push_back({key_of(run) + "/" + text.name + "/" + store.name, text, store});
      }
    }
    return all;
  }
  std::vector<Judging> missing(const Run& run) {
    std::vector<Judging> some;
    for (const Judging& j : judgings_of(run)) {
      if (!points_.has(j.key)) some.push_back(j);
    }
    return some;
  }

  bool is_looped(const Run& run) const {
    const lm::Model<float> model(run.variant.shape, run.variant.form);
    return run.seed < ground_.options.loop_seeds && model.affine();
  }
  std::string loop_prefix(const Run& run) const {
    return key_of(run) + fmt::format("/{}/", ground_.options.loop_calibration);
  }
  bool lacks_loop(const Run& run) {
    return is_looped(run) && !looped_.has(loop_prefix(run) + kLoopCaches[3]);
  }

  Result<> want(const Run& run, const lm::Model<float>& model, Parameters& parameters) {
    if (!parameters.empty()) return {};
    KVS_ASSIGN(parameters, parameters_of(run, model));
    return {};
  }

  // Of the file, in which one process of a team puts what it has trained.
  Result<Parameters> parameters_of(const Run& run, const lm::Model<float>& model) {
    const std::string key = key_of(run);
    const auto folder = ground_.dir / "weights";
    const std::string path = (folder / (hash_of(key) + ".gguf")).string();
    std::error_code unknown;
    std::filesystem::create_directories(folder, unknown);
    const auto is_trained = [&] {
      std::error_code failed;
      return trainings_.has(key) && std::filesystem::exists(path, failed);
    };
    const auto work = [&]() -> Result<> {
      KVS_ASSIGN(Parameters parameters, start_of(run, model));
      KVS_ASSIGN(const Training training, train(run, model, parameters));
      KVS_TRY(lm::save_parameters(model.layout(), parameters, path));
      return trainings_.add(key, training);
    };
    KVS_TRY(ground_.team.share(folder, {{"train " + key, is_trained, work}}, ground_.progress));
    return lm::load_parameters(model.layout(), path);
  }

  Result<Parameters> start_of(const Run& run, const lm::Model<float>& model) {
    if (!run.variant.converted) return model.start(uint64_t(run.seed));
    const Run from{variants_.front(), run.seed};
    const lm::Model<float> full(from.variant.shape, from.variant.form);
    KVS_ASSIGN(const Parameters parameters, parameters_of(from, full));
    return lm::convert(full, parameters, model);
  }

  Result<Training> train(const Run& run, const lm::Model<float>& model, Parameters& parameters) {
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
    return Training{run.variant.name,
                    run.seed,
                    parameters.size(),
                    options.steps * options.batch * run.variant.shape.length,
                    loss,
                    time.count()};
  }

  Result<> judge(const Run& run, const lm::Model<float>& model, Parameters& parameters) {
    std::optional<Judge> judge;
    for (const Judging& j : missing(run)) {
      KVS_TRY(progress_of("judging " + run.name()).step("", 1, 1));
      KVS_TRY(want(run, model, parameters));
      if (!judge) judge.emplace(ground_, model, parameters);
      KVS_ASSIGN(const Judged judged, judge->judge(j.text, j.store));
      KVS_TRY(points_.add(j.key, {run.variant.name, run.seed, j.text.name, j.store.name,
                                  judged.bytes_per_token, judged.nats_per_byte}));
    }
    return {};
  }

  // Exported, with llama.cpp's caches and the default codec, on the first test text.
  Result<> measure_loop(const Run& run, const lm::Model<float>& model,
                        const Parameters& parameters) {
    const Progress progress = progress_of("in llama.cpp: " + run.name());
    KVS_ASSIGN(const TemporaryFolder folder, TemporaryFolder::create("exported", ground_.dir));
    const std::string path = folder.file("exported.gguf");
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
      KVS_TRY(looped_.add(loop_prefix(run) + o.cache, row));
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
  size_t done_ = 0, total_ = 0;
};

}  // namespace

Result<Measurements> measure_all(const Ground& ground) {
  KVS_ASSIGN(Runs runs, Runs::open(ground));
  return runs.all();
}

}  // namespace kvsplice::experiment::train
