// Every way to compute the cache, judged in the loop: the model goes on over a text whose first
// half stands in the cache as computed keys, or computed values, the other kind being exact.
#pragma once

#include <concepts>
#include <string>
#include <vector>

#include "experiments/experiment.h"
#include "experiments/journal.h"
#include "experiments/nerf_attention/data.h"

namespace kvsplice::experiment::nerf {

// One way applied to one kind, all layers and heads.
struct Judged {
  std::string method, kind, pipeline;
  double ratio = 0;  // f16 bytes of this kind over bytes stored, all counted
  double ppl = 0, ppl_f16 = 0, ppl_error = 0, kld_mean = 0, kld_median = 0, top1_percent = 0;
  size_t scored = 0;
};

template <class Record, class F>  // Judged, const or not
void visit_fields(Record& r, F&& f) requires std::same_as<std::remove_const_t<Record>, Judged> {
  f("method", r.method);
  f("kind", r.kind);
  f("pipeline", r.pipeline);
  f("ratio", r.ratio);
  f("ppl", r.ppl);
  f("ppl_f16", r.ppl_f16);
  f("ppl_error", r.ppl_error);
  f("kld_mean", r.kld_mean);
  f("kld_median", r.kld_median);
  f("top1_percent", r.top1_percent);
  f("scored", r.scored);
}

// Nothing for generated data. Networks are trained by variable projection on the block they stand
// for; bands and means are learnt from the study's first text. What an earlier run has judged is
// taken from the journal in the results; the processes of a team share the ways.
Result<std::vector<Judged>> judge_in_loop(const Sources& sources, const Options& options,
                                          const Setting& setting);

}  // namespace kvsplice::experiment::nerf
