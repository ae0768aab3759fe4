#include "core/same_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace kvsplice {

namespace {

bool same_geometry(LayerShape a, LayerShape b) {
  a.rope = b.rope = {};
  return a == b;
}

bool near(float a, float b, float tolerance) {
  return std::abs(a - b) <= tolerance * std::max(std::abs(a), std::abs(b));
}

bool same_rotation(const Rope& a, const Rope& b) {
  if (a.frequency.size() != b.frequency.size()) return false;
  if (!a.rotates()) return true;
  if (a.pairs != b.pairs || a.first != b.first || !near(a.magnitude, b.magnitude, 1e-6f))
    return false;
  for (size_t i = 0; i < a.frequency.size(); ++i) {
    // A table is made by multiplying on and on, which multiplies a rounding of the factor, too.
    const float tolerance = 1e-6f + float(i) * std::numeric_limits<float>::epsilon();
    if (!near(a.frequency[i], b.frequency[i], tolerance)) return false;
  }
  return true;
}

std::string geometry(const ModelShape& shape, size_t index) {
  if (index >= shape.layers.size()) return fmt::format("only {} layers", shape.layers.size());
  const LayerShape& l = shape.layers[index];
  return fmt::format("layer {} with {} KV heads of {} and {} dimensions{}", l.layer, l.kv_heads,
                     l.key_dim, l.value_dim,
                     l.window > 0 ? fmt::format(" and a window of {}", l.window) : "");
}

std::string rotation(const LayerShape& l) {
  const Rope& rope = l.rope;
  if (!rope.rotates()) return fmt::format("layer {} without rotation", l.layer);
  return fmt::format("layer {} with {} {} pairs turning by {:.9g} ... {:.9g}, times {:.9g}",
                     l.layer, rope.frequency.size(),
                     rope.pairs == Rope::Pairs::adjacent ? "adjacent" : "distant",
                     rope.frequency.front(), rope.frequency.back(), rope.magnitude);
}

}  // namespace

Result<> same_model(std::string_view made_for, const ModelShape& shape, std::string_view here,
                    const ModelShape& met) {
  if (shape.fingerprint == met.fingerprint) return {};
  return Error{ErrorKind::mismatch,
               fmt::format("{} model {} ({}), {} is {} ({})", made_for, shape.model_name,
                           shape.fingerprint, here, met.model_name, met.fingerprint)};
}

Result<> same_cache(std::string_view made_for, const ModelShape& shape, std::string_view here,
                    const ModelShape& met) {
  KVS_TRY(same_model(made_for, shape, here, met));
  const auto differ = [&](const std::string& own, const std::string& others) {
    return Error{ErrorKind::mismatch, fmt::format("{} {}, {} has {} (of the same model, {})",
                                                  made_for, own, here, others, met.fingerprint)};
  };
  const size_t both = std::min(shape.layers.size(), met.layers.size());
  for (size_t l = 0; l < both; ++l) {
    const LayerShape &a = shape.layers[l], &b = met.layers[l];
    if (!same_geometry(a, b)) return differ(geometry(shape, l), geometry(met, l));
    if (!same_rotation(a.rope, b.rope)) return differ(rotation(a), rotation(b));
  }
  if (shape.layers.size() == met.layers.size()) return {};
  return differ(geometry(shape, both), geometry(met, both));
}

}  // namespace kvsplice
