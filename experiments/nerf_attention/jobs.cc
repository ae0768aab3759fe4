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

}  // namespace

std::vector<std::string> configs(bool quick) {
  if (quick) return {"small", "medium"};
  std::vector<std::string> names;
  for (const auto& preset : train::kSirenPresets) names.emplace_back(preset.name);
  return names;
}

std::vector<FitJob> Jobs::all() const {
  std::vector<FitJob> all;
  for (const auto* part : {&sweep, &before_rope, &profile, &scaling, &longer, &kinds}) {
    all.insert(all.end(), part->begin(), part->end());
  }
  return all;
}

Jobs plan_jobs(const Sources& sources, const Options& options, bool quick) {
  const Places& p = sources.places;
  Jobs jobs;
  for (int layer : p.sweep_layers) {
    for (int head : p.heads) {
      for (Signal signal : kStored) {
        for (const auto& config : configs(quick)) {
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
  for (int layer : quick ? p.few_layers : p.all_layers) {
    for (Signal signal : kStored) {
      jobs.profile.push_back(job(*sources.main, signal, layer, 0, "medium"));
    }
  }
  for (double factor : {0.5, 1., 2., 4.}) {
    for (int layer : p.few_layers) {
      if (quick && (factor > 2 || layer != p.few_layers.front())) continue;
      for (Signal signal : kStored) {
        jobs.longer.push_back(job(*sources.main, signal, layer, 0, "medium"));
        jobs.longer.back().longer = factor;
      }
    }
  }
  const size_t longest = sources.longest->tokens();
  for (size_t tokens : {longest / 8, longest / 4, longest / 2, longest}) {
    for (int layer : p.few_layers) {
      if (quick && layer != p.few_layers.front()) continue;
      for (Signal signal : kStored) {
        jobs.scaling.push_back(job(*sources.longest, signal, layer, 0, "medium"));
        jobs.scaling.back().tokens = tokens;
      }
    }
  }
  if (sources.kinds == nullptr) return jobs;
  for (size_t text = 0; text < sources.kinds->info().texts.size(); ++text) {
    for (int layer : p.few_layers) {
      for (int head : p.heads) {
        if (head > 1) continue;
        for (Signal signal : kStored) {
          jobs.kinds.push_back(job(*sources.kinds, signal, layer, head, "medium"));
          jobs.kinds.back().text = text;
        }
      }
    }
  }
  return jobs;
}

}  // namespace kvsplice::experiment::nerf
