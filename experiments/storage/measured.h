// Quality in the loop, measured once and kept.
#pragma once

#include <concepts>
#include <string>
#include <vector>

#include "experiments/journal.h"
#include "experiments/outcome.h"
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

template <class M, class F>  // Measured, const or not
void visit_fields(M& m, F&& f) requires std::same_as<std::remove_const_t<M>, Measured> {
  f("text", m.text), f("ctx", m.ctx), f("method", m.method), f("factor", m.factor);
  f("fitted", m.fitted);
  visit_outcome(m.outcome, f);
}

// The functions below give rows of all caches in their order, f16 in front, of one text and length
// after the other. What a journal lacks is measured, a few caches at a time, and written at once.

// Every text and length of context with the caches of the loop.
Result<std::vector<Measured>> measure_rates(const Ground& ground,
                                            const std::vector<TestText>& texts);

// One pipeline fitted on parts of the calibration rows: an eighth, a quarter, half and all of every
// text, and each text alone; the first length of context.
Result<std::vector<Measured>> measure_calibration(const Ground& ground,
                                                  const std::vector<TestText>& texts);

}  // namespace kvsplice::experiment::storage
