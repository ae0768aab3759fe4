#include "experiments/nerf_attention/fits.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include "core/threads.h"
#include "evaluate/metrics.h"

namespace kvsplice::experiment::nerf {

namespace {

double after(const std::vector<double>& losses, double share) {
  return losses[size_t(std::llround(share * double(losses.size() - 1)))];
}

Result<FitRecord> fit(const FitJob& job, const Options& options, const Progress& progress) {
  KVS_ASSIGN(const Matrix<float> rows,
             job.data->head(job.signal, job.layer, job.head, job.tokens, job.text));
  const auto begun = std::chrono::steady_clock::now();
  KVS_ASSIGN(const functions::SirenFit fitted,
             functions::fit_siren(rows, job.shape(), job.recipe(options), progress));
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begun;
  FitRecord record;
  record.seconds = spent.count();
  record.epochs = fitted.losses.size() - 1;
  record.loss = fitted.losses.back();
  record.loss_50 = after(fitted.losses, 0.5);
  record.loss_75 = after(fitted.losses, 0.75);
  record.loss_90 = after(fitted.losses, 0.9);
  record.parameters = fitted.model.shape.parameters();
  record.dim = rows.cols();
  record.tokens = rows.rows();
  const auto rebuilt = fitted.model.evaluate(functions::unit_positions(rows.rows()));
  KVS_TRY(compare(rows, rebuilt, record));
  return record;
}

// The fits still to be done, each once.
std::vector<const FitJob*> pending(const std::vector<FitJob>& jobs, const Options& options,
                                   const Fits& journal) {
  std::vector<const FitJob*> wanted;
  std::set<std::string> seen;
  for (const FitJob& job : jobs) {
    const std::string key = job.key(options);
    if (journal.find(key) == nullptr && seen.insert(key).second) wanted.push_back(&job);
  }
  return wanted;
}

// What the threads share: the journal, how far they are, and whether to stop.
class Crew {
 public:
  Crew(std::vector<const FitJob*> jobs, const Options& options, const Setting& setting,
       Fits& journal)
      : jobs_(std::move(jobs)), options_(options), setting_(setting), journal_(journal) {
    for (const FitJob* job : jobs_) total_ += work(*job);
  }

  Result<> run() {
    std::vector<sweep::Job> jobs;
    for (const FitJob* job : jobs_) {
      jobs.push_back({job->key(options_), [this, job] { return is_done(*job); },
                      [this, job] { return run_one(*job); }});
    }
    const Progress waiting{[this](const std::string& what, size_t done, size_t total) {
      const std::lock_guard lock(sharing_);
      return setting_.progress.step(what, done, total).ok();
    }};
    // Few jobs have all threads each.
    const size_t threads = size_t(thread_count()), all = threads * setting_.team.rank().count;
    return setting_.team.share(setting_.dir, jobs, waiting, jobs_.size() < all ? 1 : threads);
  }

 private:
  double work(const FitJob& job) const {
    return job.flops_per_epoch() * double(job.recipe(options_).epoch_count());
  }

  // By another process: this one does not ask about its own.
  bool is_done(const FitJob& job) {
    const std::lock_guard lock(sharing_);
    if (!journal_.has(job.key(options_))) return false;
    done_ += work(job);
    ++finished_;
    return true;
  }

  Result<> run_one(const FitJob& job) {
    KVS_TRY(advance(0));
    const Progress inner{
        [&](const std::string&, size_t, size_t) { return advance(job.flops_per_epoch()).ok(); }};
    const auto record = fit(job, options_, inner);
    const std::lock_guard lock(sharing_);
    if (!record.ok()) {
      return Error{record.error().kind, job.name() + ": " + record.error().message};
    }
    ++finished_;
    return journal_.add(job.key(options_), *record);
  }

  Result<> advance(double work) {  // in millions of operations, which time follows
    const std::lock_guard lock(sharing_);
    done_ += work;
    return setting_.progress.step(fmt::format("networks ({} of {} done)", finished_, jobs_.size()),
                                  size_t(std::min(done_, total_) / 1e6), size_t(total_ / 1e6));
  }

  std::vector<const FitJob*> jobs_;
  const Options& options_;
  const Setting& setting_;
  Fits& journal_;
  std::mutex sharing_;
  double total_ = 0, done_ = 0;
  size_t finished_ = 0;
};

}  // namespace

const char* kind_name(Signal signal) {
  return signal == Signal::key ? "key" : signal == Signal::value ? "value" : "key_before_rope";
}

functions::SirenShape FitJob::shape() const {
  const auto preset =
      std::find_if(std::begin(functions::kSirenPresets), std::end(functions::kSirenPresets),
                   [&](const functions::SirenPreset& p) { return p.name == config; });
  functions::SirenShape shape = preset->shape;
  shape.outputs = data->dim(signal, layer);
  return shape;
}

functions::SirenOptions FitJob::recipe(const Options& options) const {
  auto recipe = options.siren(seed);
  recipe.epochs = size_t(std::llround(longer * double(recipe.epoch_count())));
  return recipe;
}

std::string FitJob::name() const {
  return fmt::format("L{}_H{}_{}_{}", layer, head, kind_name(signal), config);
}

std::string FitJob::key(const Options& options) const {
  const auto& info = data->info();
  const auto s = shape();
  const auto o = recipe(options);
  return fmt::format("{}/{}/n{}/{}/L{}/H{}/{}x{}/w{}/{}/e{}/r{}-{}/stop{}/seed{}",
                     info.shape.fingerprint, info.texts[text].hash, tokens, kind_name(signal),
                     layer, head, s.hidden, s.layers, s.omega, options.trainer, o.epoch_count(),
                     o.first_rate(), o.last_rate, o.stop_below, seed);
}

// Products forward, and twice as many back.
double FitJob::flops_per_epoch() const {
  double products = 0;
  for (const auto& [in, out] : functions::layer_sizes(shape()))
    products += double(in) * double(out);
  return 6 * double(tokens) * products;
}

Result<> compare(MatrixView<const float> original, MatrixView<const float> rebuilt,
                 FitRecord& record) {
  evaluate::VectorErrors errors;
  KVS_TRY(errors.add(original, rebuilt, original.cols));
  record.mse = errors.sums().mse();
  record.cosine_mean = errors.cosine_mean();
  record.cosine_min = errors.cosine_min();
  record.cosine_std = errors.cosine_std();
  const size_t runs = std::min(kErrorRuns, original.rows);
  record.position_error.clear();
  for (size_t i = 0; i < runs; ++i) {
    const size_t begin = i * original.rows / runs, end = (i + 1) * original.rows / runs;
    evaluate::ErrorSums run;
    run.add(original.row_range(begin, end - begin), rebuilt.row_range(begin, end - begin));
    record.position_error.push_back(float(run.relative_rms()));
  }
  return {};
}

Result<> run_fits(const std::vector<FitJob>& jobs, const Options& options, const Setting& setting,
                  Fits& journal) {
  return Crew(pending(jobs, options, journal), options, setting, journal).run();
}

const FitRecord& record_of(const FitJob& job, const Options& options, const Fits& journal) {
  return *journal.find(job.key(options));
}

}  // namespace kvsplice::experiment::nerf
