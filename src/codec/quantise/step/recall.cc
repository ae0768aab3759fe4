#include "codec/quantise/step/recall.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "codec/checks.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

using Memory = std::map<std::string, std::shared_ptr<void>>;

// What is not read now is not read by later units either.
void keep_only(const Memory& kept, Memory& memory) {
  std::erase_if(memory, [&](const auto& item) {
    return item.first.starts_with("recall ") && !kept.contains(item.first);
  });
  for (const auto& [name, squares] : kept) memory[name] = squares;
}

}  // namespace

std::span<const Reconstruction> Recall::sources(const Context& context) const {
  // Another stage of the pipeline may have asked for more history.
  const size_t most = 2 * size_t(options_.history) + (context.unit.kind == Kind::value);
  return std::span(context.history).first(std::min(most, context.history.size()));
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

Result<Recall::Groups> Recall::groups(const Context& context, size_t count) const {
  const auto sources = this->sources(context);
  if (sources.size() != weights_.size()) {
    return Error{ErrorKind::format, fmt::format("tokens are compared in {} units, {} are there",
                                                weights_.size(), sources.size())};
  }
  if (context.positions.size() != count) {
    return Error{ErrorKind::usage,
                 fmt::format("{} rows but {} positions", count, context.positions.size())};
  }
  Groups groups;
  groups.groups_ = groups_of(context.positions, options_.tokens);
  groups.weights_ = weights_;
  groups.kernel_ = options_.kernel;
  Memory kept;
  for (const Reconstruction& source : sources) {
    const std::string name =
        fmt::format("recall {} {} {}", options_.tokens, kvsplice::name(source.kind), source.layer);
    std::shared_ptr<void> squares = context.memory ? (*context.memory)[name] : nullptr;
    if (!squares) {
      squares = std::make_shared<Matrix<float>>(squared_distances(source.rows, groups.groups_));
    }
    groups.squares_.push_back(std::static_pointer_cast<Matrix<float>>(squares));
    kept[name] = squares;
  }
  if (context.memory) keep_only(kept, *context.memory);
  return groups;
}

Result<Matrix<float>> Recall::Groups::mixing(size_t i) const {
  const Group& g = groups_[i];
  Matrix<float> sum(g.count, g.count);
  for (size_t s = 0; s < squares_.size(); ++s) {
    for (size_t t = 0; t < g.count; ++t) {
      const auto from = squares_[s]->row(g.first + t);
      for (size_t j = 0; j < t; ++j) sum(t, j) += weights_[s] * from[j];
    }
  }
  return codec::mixing(sum, kernel_);
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
