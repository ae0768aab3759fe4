#include "experiments/kvsplice/kept.h"

namespace kvsplice::experiment {

Result<Kept> Kept::open(const Setting& setting, const std::string& identity) {
  KVS_ASSIGN(auto journal, Journal<Numbers>::open(setting.dir / "numbers.jsonl"));
  return Kept(setting, identity, std::move(journal));
}

void Kept::want(const std::string& name, Compute compute) {
  wanted_.push_back({name, std::move(compute)});
}

Result<> Kept::compute() {
  std::vector<sweep::Job> jobs;
  for (size_t i = 0; i < wanted_.size(); ++i) {
    const Wanted& wanted = wanted_[i];
    const std::string key = key_of(wanted.name);
    const auto work = [this, &wanted, key, i]() -> Result<> {
      KVS_TRY(setting_.progress.step(wanted.name, i, wanted_.size()));
      KVS_ASSIGN(auto values, wanted.compute());
      return journal_.add(key, {std::move(values)});
    };
    jobs.push_back({key, [this, key] { return journal_.has(key); }, work});
  }
  KVS_TRY(setting_.team.share(setting_.dir, jobs, setting_.progress));
  wanted_.clear();
  return {};
}

const std::vector<double>& Kept::of(const std::string& name) const {
  return journal_.find(key_of(name))->values;
}

}  // namespace kvsplice::experiment
