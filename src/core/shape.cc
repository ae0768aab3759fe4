#include "core/shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/limits.h"

namespace kvsplice {

namespace {

// direction +1 rotates, -1 rotates back.
void turn(const Rope& rope, MatrixView<float> rows, int head_dim,
          std::span<const int32_t> positions, float direction) {
  const size_t pairs = rope.frequency.size();
  const bool adjacent = rope.pairs == Rope::Pairs::adjacent;
  const float gain = direction > 0 ? rope.magnitude : 1 / rope.magnitude;
  std::vector<float> cosine(pairs), sine(pairs);
  for (size_t r = 0; r < rows.rows; ++r) {
    for (size_t i = 0; i < pairs; ++i) {
      // Double keeps the angle exact at large positions; the model's own rotation is float.
      const double angle = double(positions[r]) * rope.frequency[i];
      cosine[i] = gain * static_cast<float>(std::cos(angle));
      sine[i] = gain * direction * static_cast<float>(std::sin(angle));
    }
    for (size_t head = 0; head < rows.cols; head += head_dim) {
      float* x = &rows(r, head + size_t(rope.first));
      for (size_t i = 0; i < pairs; ++i) {
        float& a = x[adjacent ? 2 * i : i];
        float& b = x[adjacent ? 2 * i + 1 : i + pairs];
        const float u = a, v = b;
        a = u * cosine[i] - v * sine[i];
        b = u * sine[i] + v * cosine[i];
      }
    }
  }
}

}  // namespace

void Rope::apply(MatrixView<float> rows, int head_dim, std::span<const int32_t> positions) const {
  turn(*this, rows, head_dim, positions, 1);
}

void Rope::undo(MatrixView<float> rows, int head_dim, std::span<const int32_t> positions) const {
  turn(*this, rows, head_dim, positions, -1);
}

size_t first_seen(size_t position, size_t window, bool chunked) {
  if (window == 0) return 0;
  if (chunked) return position / window * window;
  return position + 1 > window ? position + 1 - window : 0;
}

Result<> check_widths(const std::vector<LayerShape>& layers) {
  size_t sum = 0;
  for (const LayerShape& l : layers) {
    const int width = std::max(l.width(Kind::key), l.width(Kind::value));
    sum += static_cast<size_t>(l.width(Kind::key) + l.width(Kind::value));
    if (width <= limits::kLayerWidth && sum <= limits::kTokenValues) continue;
    return Error{ErrorKind::format,
                 fmt::format("layer {} has {} values per token, all up to it {}; at most {} and {}",
                             l.layer, width, sum, limits::kLayerWidth, limits::kTokenValues)};
  }
  return {};
}

Result<> check_query_heads(const ModelShape& shape) {
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    const int queries = shape.query_heads_of(int(l)), shared = shape.layers[l].kv_heads;
    if (queries > 0 && queries % shared == 0) continue;
    return Error{ErrorKind::format,
                 fmt::format("layer {} has {} KV heads for {} query heads", l, shared, queries)};
  }
  return {};
}

size_t ModelShape::recurrent_bytes() const {
  size_t values = 0;
  for (const RecurrentLayer& l : recurrent) values += l.values();
  return sizeof(float) * values;
}

size_t ModelShape::f16_bytes_per_token() const {
  size_t bytes = 0;
  for (const auto& l : layers) bytes += 2 * (l.width(Kind::key) + l.width(Kind::value));
  return bytes;
}

bool ModelShape::lacks_values() const {
  return std::any_of(layers.begin(), layers.end(),
                     [](const LayerShape& l) { return l.value_dim == 0; });
}

size_t ModelShape::longest_window() const {
  int longest = 0;
  for (const auto& l : layers) longest = std::max(longest, l.window);
  return static_cast<size_t>(longest);
}

size_t ModelShape::tokens_out_of_sight(size_t tokens) const {
  if (tokens == 0 || longest_window() == 0) return 0;
  size_t first = tokens;
  for (const auto& l : layers) {
    if (l.window > 0) first = std::min(first, l.first_seen(tokens - 1));
  }
  return first;
}

double ModelShape::f16_bytes(size_t tokens) const {
  double bytes = 0;
  for (const auto& l : layers) {
    const size_t held = l.window > 0 ? std::min<size_t>(tokens, l.window) : tokens;
    bytes += 2.0 * (l.width(Kind::key) + l.width(Kind::value)) * double(held);
  }
  return bytes;
}

}  // namespace kvsplice
