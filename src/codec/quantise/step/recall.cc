#include "codec/quantise/step/recall.h"

#include <fmt/format.h>

#include <algorithm>

#include "codec/checks.h"
#include "core/threads.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

// Of layers below, so that keys and values of a layer have the same.
std::vector<Reconstruction> Recall::sources(const Context& context) const {
  std::vector<Reconstruction> below;
  for (const Reconstruction& r : context.history) {
    // Another stage of the pipeline may have asked for more history.
    if (below.size() == 2 * size_t(options_.history)) break;
    if (r.layer != context.unit.layer) below.push_back(r);
  }
  return below;
}

void Recall::learn(const Context& context) {
  weights_.clear();
  if (options_.tokens < 2) return;
  // So that distances are measured in the deviations of what is compared.
  double width = 0;
  for (const Reconstruction& source : sources(context)) {
    const double deviation = rms_about_mean(source.rows);
    weights_.push_back(deviation > 1e-15 ? static_cast<float>(1 / (deviation * deviation)) : 0);
    width += double(source.rows.cols);
  }
  for (float& w : weights_) w /= static_cast<float>(width);
}

Result<std::shared_ptr<const Mixings>> Recall::mixings(const Context& context, size_t count) const {
  if (sources(context).size() != weights_.size()) {
    return Error{ErrorKind::format, fmt::format("tokens are compared in {} units, {} are there",
                                                weights_.size(), sources(context).size())};
  }
  if (context.positions.size() != count) {
    return Error{ErrorKind::usage,
                 fmt::format("{} rows but {} positions", count, context.positions.size())};
  }
  if (context.memory == nullptr) return make(context);
  auto& slot = (*context.memory)[fmt::format("recall {}", options_.tokens)];
  const auto known = std::static_pointer_cast<const Mixings>(slot);
  if (known && known->layer == context.unit.layer && known->weights == weights_) return known;
  KVS_ASSIGN(const auto made, make(context));
  slot = std::const_pointer_cast<Mixings>(made);
  return made;
}

Result<std::shared_ptr<const Mixings>> Recall::make(const Context& context) const {
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
