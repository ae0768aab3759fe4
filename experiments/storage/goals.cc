#include <algorithm>

#include "experiments/storage/outputs.h"
#include "quality/rate_curve.h"

namespace kvsplice::experiment::storage {

namespace {

struct Target {
  const char *at, *cache;
  double share;  // of the cache's divergence
  double wanted;
};
constexpr Target kTargets[] = {
    {"q4_0", "q4_0", 1, 30}, {"half of q4_0", "q4_0", 0.5, 18}, {"q8_0", "q8_0", 1, 6}};

// A method of another name for every ratio is one method.
std::string family(const std::string& method) { return method.substr(0, method.find('(')); }

// Texts and lengths that were measured, in their order.
std::vector<std::pair<std::string, int>> places_of(const std::vector<Measured>& rows) {
  std::vector<std::pair<std::string, int>> places;
  for (const Measured& m : rows) {
    const std::pair place{m.text, m.ctx};
    if (std::find(places.begin(), places.end(), place) == places.end()) places.push_back(place);
  }
  return places;
}

std::vector<Goal> goals_at(const std::vector<Measured>& rows) {
  std::vector<std::pair<std::string, std::vector<quality::RatePoint>>> curves;
  for (const Measured& m : rows) {
    if (m.outcome.pipeline.empty()) continue;
    const std::string name = family(m.method);
    if (curves.empty() || curves.back().first != name) curves.push_back({name, {}});
    curves.back().second.push_back({m.outcome.ratio, m.outcome.kld_mean});
  }
  std::vector<Goal> goals;
  for (const Target& target : kTargets) {
    const auto llama = std::find_if(rows.begin(), rows.end(),
                                    [&](const Measured& m) { return m.name() == target.cache; });
    if (llama == rows.end()) continue;
    const double kld = target.share * llama->outcome.kld_mean;
    for (const auto& [method, points] : curves) {
      const auto found = quality::ratio_at(points, kld);
      goals.push_back({llama->text, llama->ctx, target.at, kld, method,
                       found ? std::optional(found->ratio) : std::nullopt, found && found->last,
                       target.wanted});
    }
  }
  return goals;
}

}  // namespace

std::vector<Goal> goals_of(const Study& study) {
  std::vector<Goal> all;
  for (const auto& [text, ctx] : places_of(study.rates)) {
    std::vector<Measured> here;
    for (const Measured& m : study.rates) {
      if (m.text == text && m.ctx == ctx) here.push_back(m);
    }
    const auto goals = goals_at(here);
    all.insert(all.end(), goals.begin(), goals.end());
  }
  return all;
}

}  // namespace kvsplice::experiment::storage
