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

}  // namespace kvsplice::calibrate
