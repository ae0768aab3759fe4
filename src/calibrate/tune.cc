#include "calibrate/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "calibrate/codec_loop.h"
#include "host/cache_block.h"

namespace kvsplice::calibrate {

namespace {

constexpr size_t kMostSequences = 8;
constexpr double kPower = 0.25;       // of bytes over divergence; .5 would make them even at once
constexpr double kLeastShare = 1e-3;  // of the mean: smaller ones are within their own error
constexpr double kNudge = 0.1;        // of a step's logarithm
constexpr int kBisections = 60;

Result<codec::UnitCoder> with_step(const codec::UnitCoder& unit, double factor) {
  const codec::PipelineText& text = unit.pipeline().text;
  for (size_t s = 0; s < text.size(); ++s) {
    if (text[s].name != "step") continue;
    codec::State state = unit.stages()[s]->save();
    state["step"].values[0] *= static_cast<float>(factor);
    return unit.with(s, state);
  }
  return Error{ErrorKind::unsupported,
               codec::name_of(unit.unit()) + " has no stage 'step' whose size could be tuned"};
}

// Both ways, so that tables fitted to the codes of neither cost the same.
struct Nudged {
  codec::UnitCoder up, down;
};

Result<std::vector<Nudged>> nudge(const codec::Codec& codec) {
  std::vector<Nudged> made;
  for (const codec::UnitCoder& unit : codec.units()) {
    KVS_ASSIGN(codec::UnitCoder up, with_step(unit, std::exp(kNudge)));
    KVS_ASSIGN(codec::UnitCoder down, with_step(unit, std::exp(-kNudge)));
    made.push_back({std::move(up), std::move(down)});
  }
  return made;
}

Result<double> bytes_of(const codec::UnitCoder& unit, MatrixView<const float> rows,
                        const codec::CodeContext& context) {
  Matrix<float> made;
  KVS_ASSIGN(const Bytes bytes, unit.encode(copy(rows), context, &made));
  return double(bytes.size());
}

// Adds what larger steps save on these rows, units below staying as they are.
Result<> add_bytes(const codec::Codec& codec, const std::vector<Nudged>& nudged,
                   const CodecLoop& loop, const LoopGradients& found,
                   const codec::Embeddings& embeddings, double weight,
                   std::vector<UnitCost>& costs) {
  KVS_ASSIGN(CodedBlocks blocks,
             CodedBlocks::begin(codec, loop.coded_tokens(), loop.coded_positions(), embeddings));
  for (size_t u = 0; u < costs.size(); ++u) {
    const UnitRows& unit = found.units[u];
    Matrix<float> made(unit.made.rows(), unit.made.cols());
    const auto measure = [&](const codec::CodeContext& context, size_t first,
                             MatrixView<const float> rows) -> Result<Matrix<float>> {
      KVS_ASSIGN(const double more, bytes_of(nudged[u].down, rows, context));
      KVS_ASSIGN(const double fewer, bytes_of(nudged[u].up, rows, context));
      costs[u].bytes += weight * (more - fewer) / (2 * kNudge);
      return copy(unit.made.view().row_range(first, rows.rows));
    };
    KVS_TRY(blocks.code(codec.units()[u], unit.given, made, measure));
  }
  return {};
}

}  // namespace

std::vector<double> tuned_steps(const std::vector<UnitCost>& costs) {
  double mean = 0;
  for (const UnitCost& c : costs) mean += std::max(c.divergence, 0.0) / double(costs.size());
  std::vector<double> logs(costs.size());
  if (!(mean > 0)) return std::vector<double>(costs.size(), 1);
  for (size_t u = 0; u < costs.size(); ++u) {
    const double share = std::max(costs[u].divergence, kLeastShare * mean);
    // Units without bytes, such as what is predicted exactly, keep their step.
    if (costs[u].bytes > 0) logs[u] = kPower * std::log(costs[u].bytes / share);
  }
  const double most = std::log(kMostTuned);
  const auto factor = [&](size_t u, double level) {
    return costs[u].bytes > 0 ? std::clamp(logs[u] - level, -most, most) : 0;
  };
  const auto [low, high] = std::minmax_element(logs.begin(), logs.end());
  double below = *low - most, above = *high + most;
  for (int i = 0; i < kBisections; ++i) {
    const double level = (below + above) / 2;
    double saved = 0;
    for (size_t u = 0; u < costs.size(); ++u) saved += costs[u].bytes * factor(u, level);
    (saved > 0 ? below : above) = level;
  }
  std::vector<double> factors(costs.size());
  for (size_t u = 0; u < costs.size(); ++u) factors[u] = std::exp(factor(u, (below + above) / 2));
  return factors;
}

Result<std::vector<UnitCost>> unit_costs(const host::Model& model, const codec::Codec& codec,
                                         std::span<const extract::Sequence> sequences, size_t sinks,
                                         int threads, const Progress& progress) {
  KVS_ASSIGN(const std::vector<Nudged> nudged, nudge(codec));
  const codec::Embeddings embeddings = host::embeddings_of(model);
  const size_t n = std::min(sequences.size(), kMostSequences);
  std::vector<UnitCost> costs(codec.units().size());
  for (size_t i = 0; i < n; ++i) {
    KVS_TRY(progress.step("tune", i, n));
    KVS_ASSIGN(const CodecLoop loop, CodecLoop::create(model, sequences[i].tokens, sinks, threads));
    KVS_ASSIGN(const LoopGradients found, loop.gradients(codec));
    const double weight = 1 / double(n);
    for (size_t u = 0; u < costs.size(); ++u) costs[u].divergence += weight * found.share(u);
    KVS_TRY(add_bytes(codec, nudged, loop, found, embeddings, weight, costs));
  }
  return costs;
}

double TunedRows::step_scale(const codec::Unit& unit) const {
  const size_t u = unit_of(codec_, unit.kind, unit.layer);
  return u < factors_.size() ? factors_[u] : 1;
}

}  // namespace kvsplice::calibrate
