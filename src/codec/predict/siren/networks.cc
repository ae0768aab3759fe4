#include "codec/predict/siren/networks.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/bytes.h"

namespace kvsplice::codec {

functions::SirenShape SirenParams::shape() const {
  const auto preset =
      std::find_if(std::begin(functions::kSirenPresets), std::end(functions::kSirenPresets),
                   [&](const functions::SirenPreset& p) { return p.name == config; });
  functions::SirenShape shape = preset->shape;
  if (hidden) shape.hidden = size_t(*hidden);
  if (layers) shape.layers = size_t(*layers);
  if (omega) shape.omega = *omega;
  return shape;
}

functions::SirenOptions SirenParams::options() const {
  functions::SirenOptions options;
  options.trainer = trainer == "adam" ? functions::SirenOptions::Trainer::adam
                                      : functions::SirenOptions::Trainer::varpro;
  if (epochs) options.epochs = size_t(*epochs);
  options.rate = lr;
  options.stop_below = stop;
  options.seed = uint64_t(seed);
  return options;
}

std::vector<Columns> columns_of_networks(const SirenParams& params, const Unit& unit) {
  if (params.share == "layer") return {{0, unit.width()}};
  std::vector<Columns> heads;
  size_t first = 0;
  for (int dim : unit.head_dims) {
    heads.push_back({first, size_t(dim)});
    first += size_t(dim);
  }
  return heads;
}

Result<std::vector<functions::SirenModel>> train_networks(const SirenParams& params,
                                                          const Unit& unit,
                                                          MatrixView<const float> rows,
                                                          const Progress& progress) {
  std::vector<MatrixView<const float>> targets;
  for (const Columns& c : columns_of_networks(params, unit)) {
    targets.push_back(rows.col_range(c.first, c.count));
  }
  KVS_ASSIGN(auto fits, functions::fit_sirens(targets, params.shape(), params.options(), progress));
  std::vector<functions::SirenModel> models;
  for (auto& fit : fits) models.push_back(std::move(fit.model));
  return models;
}

uint64_t hash_rows(const CodeContext& context) {
  const auto bytes = [](std::span<const int32_t> values) {
    return ByteSpan(reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes());
  };
  return hash64(bytes(context.positions), hash64(bytes(context.tokens)));
}

State save_networks(const std::vector<functions::SirenModel>& models, uint64_t rows) {
  State state;
  StateArray& hash = state["rows"];
  hash.dims = {4};
  for (int i = 0; i < 4; ++i) hash.values.push_back(float(rows >> (16 * i) & 0xffff));
  for (size_t i = 0; i < models.size(); ++i) {
    const functions::SirenModel& model = models[i];
    state[fmt::format("mean.{}", i)] = {{model.scale.mean.size()}, model.scale.mean};
    state[fmt::format("deviation.{}", i)] = {{model.scale.mean.size()}, model.scale.deviation};
    state[fmt::format("parameters.{}", i)] = {{model.parameters.size()}, model.parameters};
  }
  return state;
}

}  // namespace kvsplice::codec
