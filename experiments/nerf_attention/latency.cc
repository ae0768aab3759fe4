#include "experiments/nerf_attention/latency.h"

#include <algorithm>
#include <chrono>
#include <functional>

#include "simd/limits.h"
#include "train/siren_attention.h"

namespace kvsplice::experiment::nerf {

namespace {

using functions::SirenModel;
using functions::SirenShape;
using train::SirenTrunk;

// H100 SXM5 by its data sheet: dense bf16 products, fp32 arithmetic, special functions (16 per
// cycle of each of 132 multiprocessors at 1.83 GHz), memory.
constexpr double kTensorFlops = 989e12, kVectorFlops = 67e12, kSines = 16 * 132 * 1.83e9,
                 kMemory = kH100 * 1e9;

double median_us(int warm_ups, int runs, const std::function<void()>& body) {
  std::vector<double> times;
  for (int i = -warm_ups; i < runs; ++i) {
    const auto begun = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double, std::micro> spent =
        std::chrono::steady_clock::now() - begun;
    if (i >= 0) times.push_back(spent.count());
  }
  std::nth_element(times.begin(), times.begin() + long(times.size() / 2), times.end());
  return times[times.size() / 2];
}

// Time does not depend on what a network has learnt.
SirenModel untrained(SirenShape shape, size_t outputs) {
  shape.outputs = outputs;
  SirenModel model{shape, {}, {std::vector<float>(outputs), std::vector<float>(outputs, 1)}};
  const auto start = functions::initial_parameters(shape, 0);
  model.parameters.assign(start.begin(), start.end());
  return model;
}

SirenShape shape_of(const std::string& config) {
  if (config == "depth 0") return {256, 0, 0, 30};
  return std::find_if(std::begin(functions::kSirenPresets), std::end(functions::kSirenPresets),
                      [&](const auto& preset) { return preset.name == config; })
      ->shape;
}

double read_us(const LayerShape& layer, size_t tokens, double gb_per_s) {
  const double values = double(layer.kv_heads) * (layer.key_dim + layer.value_dim);
  return 2 * values * double(tokens) / (gb_per_s * 1e3);
}

// Operations of one position: products, arithmetic of the recurrence, sines.
struct Work {
  double products = 0, arithmetic = 0, sines = 0;

  // Units work side by side; the slowest decides.
  double h100_us(size_t tokens) const {
    const double seconds =
        std::max({products / kTensorFlops, arithmetic / kVectorFlops, sines / kSines});
    return seconds * double(tokens) * 1e6;
  }
};

Work trunk_work(const SirenShape& s) {
  const double h = double(s.hidden), layers = double(s.layers);
  return {2 * h * h * layers, 2 * h, h * layers};
}

class LayerTimer {
 public:
  LayerTimer(const LayerShape& layer, int query_heads, double gb_per_s, bool quick)
      : layer_(layer),
        queries_(size_t(query_heads)),
        gb_per_s_(gb_per_s),
        warm_ups_(1),
        runs_(quick ? 3 : 5) {}

  // Keys and values of every head computed by networks of their own, then attention as usual (not
  // counted).
  Attention evaluated(const std::string& config, size_t n) const {
    const auto keys = untrained(shape_of(config), size_t(layer_.key_dim));
    const auto values = untrained(shape_of(config), size_t(layer_.value_dim));
    const auto x = functions::unit_positions(n);
    const double us = median_us(warm_ups_, runs_, [&] {
      for (int h = 0; h < layer_.kv_heads; ++h) keys.evaluate(x), values.evaluate(x);
    });
    Work work = trunk_work(keys.shape);
    work.arithmetic = 0;
    work.sines += double(keys.shape.hidden);
    const double networks = 2.0 * layer_.kv_heads;
    const double read_out =
        double(keys.shape.hidden) * (layer_.key_dim + layer_.value_dim) * layer_.kv_heads;
    return row("networks evaluated", config, n, us,
               {work.products * networks + 2 * read_out, 0, work.sines * networks});
  }

  // Networks of every head, read-outs absorbed.
  Attention absorbed(const std::string& config, size_t n) const {
    const auto keys = untrained(shape_of(config), size_t(layer_.key_dim));
    const SirenTrunk key_trunk(keys, n), value_trunk(keys, n);
    const Matrix<float> queries(group(), keys.shape.hidden + 1);
    const double us = median_us(warm_ups_, runs_, [&] {
      for (int h = 0; h < layer_.kv_heads; ++h) {
        train::mix_features(key_trunk, value_trunk, queries);
      }
    });
    return row("absorbed", config, n, us, absorbed_work(keys.shape, 2.0 * layer_.kv_heads));
  }

  // One network for the whole layer.
  Attention shared(const std::string& config, size_t n) const {
    const auto model = untrained(shape_of(config), 1);
    const SirenTrunk trunk(model, n);
    const Matrix<float> queries(queries_, model.shape.hidden + 1);
    const double us =
        median_us(warm_ups_, runs_, [&] { train::mix_features(trunk, trunk, queries); });
    return row("absorbed, shared by the layer", config, n, us, absorbed_work(model.shape, 1));
  }

 private:
  size_t group() const { return std::max<size_t>(1, queries_ / size_t(layer_.kv_heads)); }

  // Scores and mixtures of all queries, beside the trunks.
  Work absorbed_work(const SirenShape& shape, double trunks) const {
    Work work = trunk_work(shape);
    const double attention = 4 * double(shape.hidden) * double(queries_);
    return {work.products * trunks + attention, work.arithmetic * trunks, work.sines * trunks};
  }

  Attention row(const std::string& method, const std::string& config, size_t n, double us,
                const Work& work) const {
    return {method,
            config,
            n,
            us,
            read_us(layer_, n, gb_per_s_),
            work.h100_us(n),
            read_us(layer_, n, kMemory / 1e9)};
  }

  LayerShape layer_;
  size_t queries_;
  double gb_per_s_;
  int warm_ups_, runs_;
};

Forward time_forward(const std::string& config, const LayerShape& layer, size_t tokens,
                     double gb_per_s, bool quick) {
  const auto model = untrained(shape_of(config), size_t(layer.key_dim));
  const auto x = functions::unit_positions(tokens);
  const double us = median_us(quick ? 2 : 10, quick ? 10 : 100, [&] { model.evaluate(x); });
  const double kilobytes = 2 * double(tokens) * layer.key_dim / 1e3;
  return {config, tokens, us, kilobytes / gb_per_s, kilobytes / kRtx4060, kilobytes / kH100};
}

}  // namespace

Latency measure_latency(const LayerShape& layer, int query_heads, size_t tokens,
                        const std::vector<std::string>& configs, bool quick) {
  const Limits limits = measure_limits();
  Latency latency{limits.read_gb_per_s, limits.fma_gflop_per_s, {}, {}};
  for (const auto& config : configs) {
    latency.forward.push_back(time_forward(config, layer, tokens, limits.read_gb_per_s, quick));
  }
  for (size_t n : {tokens / 4, tokens / 2, 2 * tokens}) {
    latency.forward.push_back(time_forward("medium", layer, n, limits.read_gb_per_s, quick));
  }
  const LayerTimer timer(layer, query_heads, limits.read_gb_per_s, quick);
  const std::vector<size_t> lengths =
      quick ? std::vector<size_t>{2048} : std::vector<size_t>{2048, 8192, 32768};
  for (size_t n : lengths) {
    for (const auto& config : {"tiny", "small", "medium"}) {
      latency.attention.push_back(timer.evaluated(config, n));
      latency.attention.push_back(timer.absorbed(config, n));
      latency.attention.push_back(timer.shared(config, n));
    }
    latency.attention.push_back(timer.shared("depth 0", n));
  }
  return latency;
}

}  // namespace kvsplice::experiment::nerf
