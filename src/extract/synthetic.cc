// The NeRF-Attention seed's stand-in for a cache: every dimension a sum of waves, spikes and noise
// over t = 0 ... 1. Keys get more spikes, and narrower ones, from layer to layer; values get none.
// Random numbers are drawn layer by layer, head by head, keys before values, dimension by
// dimension, in the order of the code below.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/bytes.h"
#include "core/random.h"
#include "extract/dump_file.h"

namespace kvsplice::extract {

namespace {

constexpr double turn = 2 * std::numbers::pi;

void add_spikes(Random& random, double scale, std::vector<double>& x) {
  const auto n = static_cast<int64_t>(x.size());
  const auto widest = std::max<int64_t>(2, static_cast<int64_t>(5 / scale));
  for (int i = 0; i < static_cast<int>(3 * scale); ++i) {
    const auto centre = static_cast<int64_t>(random.below(x.size()));
    const auto width = 1 + static_cast<int64_t>(random.below(static_cast<uint64_t>(widest - 1)));
    const double amplitude = random.uniform(0.5, 2.0);
    for (int64_t o = -width; o <= width; ++o) {
      if (centre + o < 0 || centre + o >= n) continue;
      const double z = double(o) / std::max(1.0, double(width) / 2);
      x[static_cast<size_t>(centre + o)] += amplitude * std::exp(-0.5 * z * z);
    }
  }
}

std::vector<double> key_dimension(Random& random, size_t n, double scale) {
  const double f1 = random.uniform(1, 5), f2 = random.uniform(3, 10), fm = random.uniform(10, 30);
  const double phase = random.uniform(0, turn);
  std::vector<double> x(n);
  for (size_t i = 0; i < n; ++i) {
    const double t = n > 1 ? double(i) / double(n - 1) : 0;
    x[i] = 0.5 * std::sin(turn * f1 * t) + 0.3 * std::cos(turn * f2 * t) +
           0.2 * std::sin(turn * fm * t + phase);
  }
  add_spikes(random, scale, x);
  for (double& v : x) v += 0.1 * random.normal();
  return x;
}

std::vector<double> value_dimension(Random& random, size_t n) {
  const double f = random.uniform(1, 8);
  std::vector<double> x(n);
  for (size_t i = 0; i < n; ++i) {
    const double t = n > 1 ? double(i) / double(n - 1) : 0;
    x[i] = 0.6 * std::sin(turn * f * t) + 0.15 * random.normal();
  }
  return x;
}

struct KeysAndValues {
  Matrix<float> keys, values;
};

KeysAndValues generate_layer(Random& random, const SyntheticOptions& o, double scale) {
  const auto dim = static_cast<size_t>(o.head_dim), width = static_cast<size_t>(o.heads) * dim;
  KeysAndValues layer{Matrix<float>(o.tokens, width), Matrix<float>(o.tokens, width)};
  const auto put = [](const std::vector<double>& x, size_t column, Matrix<float>& to) {
    for (size_t i = 0; i < x.size(); ++i) to(i, column) = static_cast<float>(x[i]);
  };
  for (size_t head = 0; head < width; head += dim) {
    for (size_t d = 0; d < dim; ++d) {
      put(key_dimension(random, o.tokens, scale), head + d, layer.keys);
    }
    for (size_t d = 0; d < dim; ++d) {
      put(value_dimension(random, o.tokens), head + d, layer.values);
    }
  }
  return layer;
}

Result<> check_range(const char* what, size_t value, size_t most) {
  if (value >= 1 && value <= most) return {};
  return Error{ErrorKind::usage,
               fmt::format("synthetic {}: {}; 1 ... {} are allowed", what, value, most)};
}

// Synthetic dumps of one geometry count as one model.
DumpInfo describe(const SyntheticOptions& o) {
  DumpInfo info;
  info.synthetic = true;
  info.signals = {host::Signal::key_before_rope, host::Signal::key, host::Signal::value};
  info.shape.architecture = info.shape.model_name = "synthetic";
  info.shape.query_heads = o.heads;
  info.shape.embedding_dim = o.heads * o.head_dim;
  for (int i = 0; i < o.layers; ++i) {
    info.shape.layers.push_back({i, o.heads, o.head_dim, o.head_dim, 0, {}});
    info.layers.push_back(i);
  }
  for (int i = 0; i < o.heads; ++i) info.heads.push_back(i);
  const std::string geometry = fmt::format("synthetic {} {} {}", o.layers, o.heads, o.head_dim);
  const auto hash = [](const std::string& s) {
    return hash128_hex({reinterpret_cast<const uint8_t*>(s.data()), s.size()});
  };
  info.shape.fingerprint = hash(geometry);
  info.texts = {{"synthetic", hash(fmt::format("{} seed {}", geometry, o.seed)), o.tokens}};
  return info;
}

}  // namespace

Result<DumpInfo> extract_synthetic(const SyntheticOptions& options, const std::string& out) {
  KVS_TRY(check_range("layers", static_cast<size_t>(std::max(0, options.layers)), 1024));
  KVS_TRY(check_range("heads", static_cast<size_t>(std::max(0, options.heads)), 1024));
  KVS_TRY(check_range("dimensions", static_cast<size_t>(std::max(0, options.head_dim)), 4096));
  KVS_TRY(check_range("tokens", options.tokens, 1 << 24));
  const DumpInfo info = describe(options);
  const std::vector<int32_t> tokens(options.tokens, 0);
  KVS_ASSIGN(gguf::GgufWriter file, begin_dump(out, info, tokens));
  Random random(options.seed);
  for (int layer : info.layers) {
    const double along = options.layers > 1 ? double(layer) / (options.layers - 1) : 0;
    const KeysAndValues kv = generate_layer(random, options, 1 + 2 * along);
    for (host::Signal signal : info.signals) {
      const auto& rows = signal == host::Signal::value ? kv.values : kv.keys;
      KVS_TRY(file.write(tensor_name(signal, layer), 0, rows.flat()));
    }
  }
  KVS_TRY(file.finish());
  return info;
}

}  // namespace kvsplice::extract
