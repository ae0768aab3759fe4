// The warps on real caches: errors of tensors and of attention, and quality in the loop.
#pragma once

#include <string>
#include <vector>

#include "experiments/kvsplice/caches.h"
#include "experiments/kvsplice/kept.h"
#include "experiments/kvsplice/warps.h"
#include "quality/quality.h"

namespace kvsplice::experiment {

// Means over units: every head, or every layer, of the layers chosen.
struct CacheRow {
  std::string signal, scope;  // scope: "head" or "layer"
  size_t rank, columns;
  std::string method;
  double error;            // rms error / rms about the mean
  double attention_error;  // rms error / rms of the outputs
  size_t better, units;    // units in which the warp's error is below plain PCA's

  double bytes() const { return 2 * double(rank); }  // f16 coordinates of one vector
};
void plan_caches(const Caches& caches, const StudyOptions& options, Kept& kept);
Result<std::vector<CacheRow>> caches_of(const Caches& caches, const Kept& kept);

// Pipelines of pairwise equal bytes for keys and values of all layers, in the loop. The codecs are
// fitted to the training texts. `identity` is of all that the outcomes depend on.
Result<std::vector<quality::Outcome>> compare_in_loop(const host::Model& model,
                                                      const Caches& caches,
                                                      const StudyOptions& options,
                                                      const Setting& setting,
                                                      const std::string& identity);

}  // namespace kvsplice::experiment
