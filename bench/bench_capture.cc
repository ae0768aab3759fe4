// What watching a model costs: evaluation with all signals captured beside llama.cpp alone.
#include <fmt/format.h>

#include <algorithm>

#include "bench/bench.h"
#include "bench/prompt.h"

namespace kvsplice::bench {

namespace {

constexpr int kTokens = 1024;

Result<double> evaluation_ms(const host::Model& model, const host::ContextOptions& options) {
  KVS_ASSIGN(host::Context context, host::Context::create(model, options));
  const auto tokens = random_prompt(model, kTokens);
  Result<> outcome;
  const double ms = best_ms([&] {
    context.clear();
    if (outcome.ok()) outcome = context.decode(tokens, 1);
  });
  KVS_TRY(std::move(outcome));
  return ms;
}

Result<std::vector<Measurement>> run(Surroundings& here) {
  if (here.places().model.empty()) {
    here.note("capture is left out: it needs a model (-m)");
    return std::vector<Measurement>{};
  }
  KVS_ASSIGN(const host::Model model, host::Model::load(here.places().model));
  host::ContextOptions options;
  options.n_ctx = kTokens;
  KVS_ASSIGN(const double alone, evaluation_ms(model, options));

  Matrix<float> taken;  // what every user of captured rows does first: keep a copy
  options.signals = {host::Signal::key_before_rope, host::Signal::key, host::Signal::value,
                     host::Signal::query};
  options.capture = [&](const host::Capture& c) -> Result<> {
    if (taken.rows() != c.rows.rows || taken.cols() != c.rows.cols) {
      taken = Matrix<float>(c.rows.rows, c.rows.cols);
    }
    std::copy_n(c.rows.data, taken.size(), taken.data());
    return {};
  };
  KVS_ASSIGN(const double watched, evaluation_ms(model, options));
  // Nothing the machine could do makes watching faster than the evaluation itself.
  return std::vector<Measurement>{{fmt::format("{} tokens, keys, values and queries", kTokens),
                                   watched,
                                   alone,
                                   {{"llama.cpp alone", alone}}}};
}

}  // namespace

BenchCase capture_bench() {
  return {"capture", "evaluation of a model with every signal captured", run};
}

}  // namespace kvsplice::bench
