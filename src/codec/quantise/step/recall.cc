#include "codec/quantise/step/recall.h"

#include <fmt/format.h>

#include <algorithm>

#include "codec/checks.h"
#include "core/threads.h"

namespace kvsplice::codec {

// Of layers below, so that keys and values of a layer have the same.
std::vector<Reconstruction> Recall::sources(const CodeContext& context) const {
  std::vector<Reconstruction> below;
  for (const Reconstruction& r : context.history) {
    // Another stage of the pipeline may have asked for more history.
    if (below.size() == 2 * size_t(options_.history)) break;
    if (r.layer != context.unit.layer) below.push_back(r);
  }
  return below;
}

Result<std::shared_ptr<const Mixings>> Recall::mixings(const CodeContext& context,
                                                       size_t count) const {
  if (sources(context).size() != weights_.size()) {
    return Error{ErrorKind::format, fmt::format("tokens are compared in {} units, {} are there",
                                                weights_.size(), sources(context).size())};
  }
  if (context.positions.size() != count) {
    return Error{ErrorKind::usage,
                 fmt::format("{} rows but {} positions", count, context.positions.size())};
  }
  if (context.shared == nullptr) return make(context);
  auto& known = context.shared->of<SharedMixings>().last[options_.tokens];
  if (known && known->layer == context.unit.layer && known->weights == weights_) return known;
  KVS_ASSIGN(known, make(context));
  return known;
}

Result<std::shared_ptr<const Mixings>> Recall::make(const CodeContext& context) const {
  auto made = std::make_shared<Mixings>();
  made->layer = context.unit.layer;
  made->weights = weights_;
  made->groups = groups_of(context.positions, options_.tokens);
  made->of_group.resize(made->groups.size());
  const std::vector<Reconstruction> sources = this->sources(context);
  KVS_TRY(parallel_try(made->groups.size(), [&](size_t i) -> Result<> {
    const Group& g = made->groups[i];
    Matrix<float> squares(g.count, g.count);
    for (size_t s = 0; s < sources.size(); ++s) {
      if (sources[s].rows.cols == 0) continue;  // values of latent attention, which are not there
      add_squared_distances(sources[s].rows.row_range(g.first, g.count), weights_[s], squares);
    }
    KVS_ASSIGN(made->of_group[i], mixing(std::move(squares), options_.kernel));
    return {};
  }));
  return std::shared_ptr<const Mixings>(std::move(made));
}

void Recall::save(State& state) const {
  if (on()) state["weights"] = {{weights_.size()}, weights_};
}

Result<> Recall::load(const State& state) {
  weights_.clear();
  if (!state.contains("weights")) return {};
  KVS_ASSIGN(const StateArray* array, find_array(state, "weights", {kAny}));
  if (std::any_of(array->values.begin(), array->values.end(), [](float w) { return w < 0; })) {
    return Error{ErrorKind::format, "a weight of distances is negative"};
  }
  weights_ = array->values;
  return {};
}

}  // namespace kvsplice::codec
