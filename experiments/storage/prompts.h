// What restored prompts are worth: keys and values retrieved from them, and greedy continuations.
#pragma once

#include <string>
#include <vector>

#include "experiments/journal.h"
#include "experiments/storage/caches.h"

namespace kvsplice::experiment::storage {

// One cache of one prompt, with what was asked behind it: a question each, or one continuation.
struct Restored {
  std::string cache, text;              // text: of greedy prompts
  size_t prompt_tokens = 0, pairs = 0;  // of retrieval: at most so many tokens
  double ratio = 0;                     // f16 bytes over real bytes, sinks counted as f16
  std::vector<double> depth;
  std::vector<size_t> tokens, until_divergence;
  std::vector<double> share, log_prob;
};

template <class R, class F>
void visit_restored(R& r, F&& f) {
  f("cache", r.cache), f("text", r.text), f("prompt_tokens", r.prompt_tokens);
  f("pairs", r.pairs), f("ratio", r.ratio), f("depth", r.depth), f("tokens", r.tokens);
  f("until_divergence", r.until_divergence), f("share", r.share), f("log_prob", r.log_prob);
}
template <class F>
void visit_fields(const Restored& r, F&& f) {
  visit_restored(r, f);
}
template <class F>
void visit_fields(Restored& r, F&& f) {
  visit_restored(r, f);
}

Result<std::vector<Restored>> measure_retrieval(const Ground& ground);
// Without f16, which is what the others are compared with.
Result<std::vector<Restored>> measure_greedy(const Ground& ground,
                                             const std::vector<TestText>& texts);

}  // namespace kvsplice::experiment::storage
