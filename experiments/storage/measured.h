// Quality in the loop, measured once and kept.
#pragma once

#include <string>
#include <vector>

#include "experiments/journal.h"
#include "experiments/storage/caches.h"

namespace kvsplice::experiment::storage {

// One cache on one text at one length of context.
struct Measured {
  std::string text;
  int ctx = 0;
  std::string method;  // or what it was fitted on
  double factor = 0;
  size_t fitted = 0;  // tokens
  quality::Outcome outcome;

  const std::string& name() const { return outcome.cache; }
};

template <class M, class F>
void visit_outcome(M& m, F&& f) {
  auto& o = m.outcome;
  f("cache", o.cache), f("pipeline", o.pipeline), f("step", o.step);
  f("bits_per_value", o.bits_per_value), f("entropy_bits_per_value", o.entropy_bits_per_value);
  f("ratio", o.ratio), f("ratio_with_window", o.ratio_with_window);
  f("ppl", o.ppl), f("ppl_error", o.ppl_error);
  f("kld_mean", o.kld_mean), f("kld_median", o.kld_median), f("kld_p99", o.kld_p99);
  f("top1_percent", o.top1_percent), f("rms_dp_percent", o.rms_dp_percent);
  f("tokens_per_second", o.tokens_per_second);
  f("encode_us_per_token", o.encode_us_per_token), f("decode_us_per_token", o.decode_us_per_token);
  f("scored", o.scored), f("codec_file_bytes", o.codec_file_bytes);
}

template <class F>
void visit_fields(const Measured& m, F&& f) {
  f("text", m.text), f("ctx", m.ctx), f("method", m.method), f("factor", m.factor);
  f("fitted", m.fitted);
  visit_outcome(m, f);
}
template <class F>
void visit_fields(Measured& m, F&& f) {
  f("text", m.text), f("ctx", m.ctx), f("method", m.method), f("factor", m.factor);
  f("fitted", m.fitted);
  visit_outcome(m, f);
}

// A cache to measure; the codec is made when it is needed.
struct Task {
  std::string key;  // identifies it among all on the same text and ctx
  std::string name, method;
  double factor = 0;
  std::optional<host::CacheType> type;
  std::function<Result<std::unique_ptr<codec::Codec>>()> codec;
};

// Rows of all tasks on one text, in their order; f16 rows in front. Those that the journal lacks
// are measured, a few at a time, and written at once.
Result<std::vector<Measured>> measure_tasks(const Ground& ground, const TestText& text, int ctx,
                                            const std::vector<Task>& tasks,
                                            Journal<Measured>& journal);

// Every text and length of context with the caches of the loop.
Result<std::vector<Measured>> measure_rates(const Ground& ground,
                                            const std::vector<TestText>& texts);

// One pipeline fitted on parts of the calibration rows: an eighth, a quarter, half and all of every
// text, and each text alone; the first length of context.
Result<std::vector<Measured>> measure_calibration(const Ground& ground,
                                                  const std::vector<TestText>& texts);

}  // namespace kvsplice::experiment::storage
