#include "experiments/train/variants.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvsplice::experiment::train {

namespace {

// All there are. Latents are parts of what `full` caches: a quarter, an eighth, a sixteenth. The
// control of a map is the same without it, as deep a product of matrices: depth by itself changes
// how fast a model learns.
std::vector<Variant> every_variant(const Options& o) {
  using lm::Warp;
  lm::Shape shape;
  shape.vocabulary = size_t(o.vocabulary);
  shape.width = size_t(o.width);
  shape.layers = size_t(o.layers);
  shape.hidden = size_t(o.hidden);
  shape.heads = shape.kv_heads = size_t(o.heads);
  shape.head_dim = shape.width / shape.heads;
  shape.length = size_t(o.length);
  const size_t all = 2 * shape.kv_width(), quarter = all / 4, eighth = all / 8;
  lm::Shape grouped = shape, one_head = shape;
  grouped.kv_heads = 1;
  one_head.heads = one_head.kv_heads = 1;
  one_head.head_dim = eighth;
  const std::string control = "latent_8th";
  return {
      {"full", "", shape, {}},
      {"latent_4th", "full", shape, {quarter}},
      {"latent_8th", "full", shape, {eighth}},
      {"latent_16th", "full", shape, {all / 16}},
      {"linear", control, shape, {eighth, quarter}},
      {"affine", "linear", shape, {eighth, quarter, false, Warp::affine}},
      {"normed", "linear", shape, {eighth, quarter, true}},
      {"spline", "normed", shape, {eighth, quarter, true, Warp::spline}},
      {"flow", "normed", shape, {eighth, quarter, true, Warp::flow}},
      {"one_head", control, one_head, {eighth}},
      {"grouped", "full", grouped, {}},
      {"rate", "full", shape, {0, 0, false, Warp::none, o.noise, o.price}},
      {"converted_4th", "latent_4th", shape, {quarter}, true},
      {"converted_8th", "latent_8th", shape, {eighth}, true},
  };
}

std::vector<std::string> names_of(const Options& o) {
  if (o.variants != "recipe") return split(o.variants);
  if (o.recipe == "seed") return {"latent_4th", "latent_8th", "linear", "affine", "one_head"};
  return {"latent_4th", "latent_8th", "linear", "affine", "normed", "spline", "rate"};
}

}  // namespace

Result<std::vector<Variant>> variants_of(const Options& options) {
  const auto all = every_variant(options);
  if (options.all == "yes") return all;
  std::vector<std::string> known;
  for (const Variant& v : all) known.push_back(v.name);
  const auto names = names_of(options);
  for (const auto& name : names) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return Error{ErrorKind::usage, fmt::format("train.variants = '{}' is not allowed; legal: {}",
                                               name, fmt::join(known, ","))};
  }
  std::vector<Variant> chosen;
  for (const Variant& v : all) {
    if (v.name == "full" || std::find(names.begin(), names.end(), v.name) != names.end()) {
      chosen.push_back(v);
    }
  }
  return chosen;
}

}  // namespace kvsplice::experiment::train
