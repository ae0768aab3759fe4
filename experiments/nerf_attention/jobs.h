// Which networks each part of the study wants. Parts overlap; a network is fitted once.
#pragma once

#include <vector>

#include "experiments/nerf_attention/fits.h"

namespace kvsplice::experiment::nerf {

struct Jobs {
  std::vector<FitJob> sweep;        // layers x heads x keys, values x configurations x seeds
  std::vector<FitJob> before_rope;  // the sweep's places, keys before rotary embedding, medium
  std::vector<FitJob> profile;      // every layer, head 0, medium
  std::vector<FitJob> scaling;      // four lengths, a few layers, head 0, medium
  std::vector<FitJob> longer;       // half, once, twice and four times the epochs, medium
  std::vector<FitJob> kinds;        // all texts, a few layers, two heads, medium

  std::vector<FitJob> all() const;
};

Jobs plan_jobs(const Sources& sources, const Options& options, bool quick);

}  // namespace kvsplice::experiment::nerf
