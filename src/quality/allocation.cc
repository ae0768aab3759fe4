#include "quality/allocation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "host/cache_block.h"

namespace kvsplice::quality {

namespace {

// 1 / (a + b) of the header: near the rms, divergence grows with about step^1.6 and bytes fall with
// about step^-.9 (SmolLM2-135M, steps of .6 to 1.2).
constexpr double kExponent = 0.4;
constexpr double kMostScale = 2.5;    // of one round, either way: shares are not quite additive
constexpr double kLeastShare = 0.02;  // of the mean divergence: what is less is noise

bool holds(const Share& share, Kind kind, size_t layer) {
  return kind == share.kind && layer >= share.first && layer < share.first + share.layers;
}

std::vector<Share> cut(size_t layers, size_t most) {
  const size_t count = std::min(layers, std::max<size_t>(most, 1));
  std::vector<Share> shares;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t i = 0; i < count; ++i) {
      const size_t first = layers * i / count;
      shares.push_back({kind, first, layers * (i + 1) / count - first});
    }
  }
  return shares;
}

Result<> count_bytes(const codec::Codec& codec, const std::vector<KvBlock<float>>& blocks,
                     const codec::Embeddings& embeddings, std::vector<Share>& shares) {
  size_t tokens = 0;
  for (const auto& block : blocks) {
    KVS_ASSIGN(const Bytes encoded, codec.encode(block, &embeddings));
    KVS_ASSIGN(const auto payloads, codec.payloads(encoded));
    for (size_t u = 0; u < payloads.size(); ++u) {
      const codec::Unit& unit = codec.units()[u].unit();
      for (Share& share : shares) {
        if (holds(share, unit.kind, size_t(unit.layer))) share.bytes += double(payloads[u].size());
      }
    }
    tokens += block.count();
  }
  for (Share& share : shares) share.bytes /= double(std::max<size_t>(tokens, 1));
  return {};
}

}  // namespace

Result<std::vector<Share>> measure_shares(const host::Model& model, const codec::Codec& codec,
                                          const std::vector<KvBlock<float>>& blocks,
                                          std::span<const host::Token> tokens,
                                          const AllocationOptions& options,
                                          const Progress& progress) {
  for (const auto& unit : codec.units()) {
    if (unit.unit().layer < 0) {
      return Error{ErrorKind::usage, "a stage joins all layers: nothing to allocate among them"};
    }
  }
  std::vector<Share> shares = cut(codec.shape().layers.size(), options.shares);
  KVS_TRY(count_bytes(codec, blocks, host::embeddings_of(model), shares));
  std::vector<Subject> subjects = {{"floor", std::nullopt, nullptr}};
  for (const Share& share : shares) {
    const std::string name = fmt::format("{}s of layers {} to {}", kvsplice::name(share.kind),
                                         share.first, share.first + share.layers - 1);
    subjects.push_back({name, std::nullopt, &codec,
                        [share](Kind kind, size_t layer) { return holds(share, kind, layer); }});
  }
  KVS_ASSIGN(const auto outcomes, measure(model, tokens, subjects, options.loop, progress));
  // Outcomes: the bases, the floor, the shares in order.
  const size_t first = outcomes.size() - shares.size();
  for (size_t i = 0; i < shares.size(); ++i) {
    shares[i].kld = outcomes[first + i].kld_mean - outcomes[first - 1].kld_mean;
  }
  weigh(shares);
  return shares;
}

void weigh(std::vector<Share>& shares) {
  double kld = 0, bytes = 0;
  for (const Share& share : shares) {
    kld += std::max(share.kld, 0.0);
    bytes += share.bytes;
  }
  if (!(kld > 0) || !(bytes > 0)) return;
  double mean = 0;
  for (Share& share : shares) {
    const double c = std::max(share.kld / kld, kLeastShare / double(shares.size()));
    const double r = std::max(share.bytes / bytes, 1e-6);
    share.scale = std::pow(r / c, kExponent);
    mean += r * std::log(share.scale);
  }
  for (Share& share : shares) {
    share.scale = std::clamp(share.scale / std::exp(mean), 1 / kMostScale, kMostScale);
  }
}

void apply(const std::vector<Share>& shares, const codec::Codec& codec,
           std::vector<double>& scales) {
  scales.resize(codec.units().size(), 1.0);
  for (size_t u = 0; u < scales.size(); ++u) {
    const codec::Unit& unit = codec.units()[u].unit();
    for (const Share& share : shares) {
      if (holds(share, unit.kind, size_t(unit.layer))) scales[u] *= share.scale;
    }
  }
}

}  // namespace kvsplice::quality
