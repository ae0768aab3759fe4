#include "calibrate/default_pipeline.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvsplice::calibrate {

namespace {

constexpr int kMostHistory = 3;
constexpr int kWholeEmbedding = 1024;  // wider ones are read in
constexpr int kDirections = 512;

// The most values that a row of any layer but the lowest is predicted from.
size_t most_read(const ModelShape& shape, int history) {
  const bool whole = shape.embedding_dim <= kWholeEmbedding;
  size_t most = 0;
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    size_t read = size_t(shape.layers[l].width(Kind::key));  // by values
    for (size_t below = l - std::min(l, size_t(history)); below < l; ++below) {
      read += size_t(shape.layers[below].width(Kind::key) + shape.layers[below].width(Kind::value));
    }
    if (history > 0) most = std::max(most, read);
  }
  return most + size_t(whole ? shape.embedding_dim : kDirections);
}

constexpr int kMixedColumns = 256;

std::string mixing(const ModelShape& shape, Kind kind) {
  int width = 0, dim = 1;
  for (const LayerShape& layer : shape.layers) {
    width = std::max(width, layer.width(kind));
    dim = std::max(dim, layer.heads_dim(kind));
  }
  if (width <= kMixedColumns) return "klt";
  return fmt::format("klt(scope=head,heads={})", std::max(1, kMixedColumns / dim));
}

}  // namespace

std::string default_pipeline(const ModelShape& shape, size_t decode_budget) {
  int history = kMostHistory;
  while (history > 0 && most_read(shape, history) > decode_budget) --history;
  std::string layers = fmt::format("layers(history={}", history);
  if (shape.embedding_dim > kWholeEmbedding) {
    layers += fmt::format(",directions={}", kDirections);
  }
  const std::string pipeline = kDefaultPipeline;
  return layers + pipeline.substr(pipeline.find(')'));
}

std::string live_pipeline(const ModelShape& shape, size_t context) {
  constexpr char kWidths[] = "widths(delta=1.3,grades=2,spread=2)";
  return fmt::format(
      "k: rotmean(rest=on) | rotate(context={}) | fisher(cached=on) | {} | {} ; v: fisher | {} | "
      "{}",
      context, mixing(shape, Kind::key), kWidths, mixing(shape, Kind::value), kWidths);
}

}  // namespace kvsplice::calibrate
