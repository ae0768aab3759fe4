#include "experiments/nerf_attention/jobs.h"

#include <algorithm>

namespace kvsplice::experiment::nerf {

namespace {

constexpr Signal kStored[] = {Signal::key, Signal::value};

FitJob job(const Data& data, Signal signal, int layer, int head, const std::string& config) {
  FitJob j;
  j.data = &data;
  j.signal = signal;
  j.layer = layer;
  j.head = head;
  j.tokens = data.tokens();
  j.config = config;
  return j;
}

void plan_sweep(const Sources& sources, const Options& options, Jobs& jobs) {
  for (int layer : sources.places.sweep_layers) {
    for (int head : sources.places.heads) {
      for (Signal signal : kStored) {
        for (const auto& config : options.networks()) {
          for (int seed = 0; seed < options.seeds; ++seed) {
            jobs.sweep.push_back(job(*sources.main, signal, layer, head, config));
            jobs.sweep.back().seed = uint64_t(seed);
          }
        }
      }
      jobs.before_rope.push_back(
          job(*sources.main, Signal::key_before_rope, layer, head, "medium"));
    }
  }
}

void plan_profile(const Sources& sources, bool quick, Jobs& jobs) {
  for (int layer : quick ? sources.places.few_layers : sources.places.all_layers) {
    for (Signal signal : kStored) {
      jobs.profile.push_back(job(*sources.main, signal, layer, 0, "medium"));
    }
  }
}

void plan_scaling(const Sources& sources, bool quick, Jobs& jobs) {
  const size_t longest = sources.longest->tokens();
  for (size_t tokens : {longest / 8, longest / 4, longest / 2, longest}) {
    for (int layer : sources.places.few_layers) {
      if (quick && layer != sources.places.few_layers.front()) continue;
      for (Signal signal : kStored) {
        jobs.scaling.push_back(job(*sources.longest, signal, layer, 0, "medium"));
        jobs.scaling.back().tokens = tokens;
      }
    }
  }
}

void plan_longer(const Sources& sources, bool quick, Jobs& jobs) {
  for (double factor : {0.5, 1., 2., 4.}) {
    for (int layer : sources.places.few_layers) {
      if (quick && (factor > 2 || layer != sources.places.few_layers.front())) continue;
      for (Signal signal : kStored) {
        jobs.longer.push_back(job(*sources.main, signal, layer, 0, "medium"));
        jobs.longer.back().longer = factor;
      }
    }
  }
}

void plan_kinds(const Sources& sources, Jobs& jobs) {
  for (size_t text = 0; text < sources.kinds->info().texts.size(); ++text) {
    for (int layer : sources.places.few_layers) {
      for (int head : sources.places.heads) {
        if (head > 1) continue;
        for (Signal signal : kStored) {
          jobs.kinds.push_back(job(*sources.kinds, signal, layer, head, "medium"));
          jobs.kinds.back().text = text;
        }
      }
    }
  }
}

}  // namespace

std::vector<FitJob> Jobs::all() const {
  std::vector<FitJob> all;
  for (const auto* part : {&sweep, &before_rope, &profile, &scaling, &longer, &kinds}) {
    all.insert(all.end(), part->begin(), part->end());
  }
  return all;
}

Jobs plan_jobs(const Sources& sources, const Options& options, bool quick) {
  Jobs jobs;
  if (options.wants("sweep")) plan_sweep(sources, options, jobs);
  if (options.wants("profile")) plan_profile(sources, quick, jobs);
  if (options.wants("scaling")) plan_scaling(sources, quick, jobs);
  if (options.wants("longer")) plan_longer(sources, quick, jobs);
  if (options.wants("kinds") && sources.kinds != nullptr) plan_kinds(sources, jobs);
  return jobs;
}

}  // namespace kvsplice::experiment::nerf
