#include "live/turn.h"

#include <algorithm>
#include <cmath>

namespace kvsplice::live {

Turn::Turn(const Rope& rope, size_t dim, size_t position) : columns_(dim) {
  for (size_t c = 0; c < dim; ++c) columns_[c].partner = c;
  const size_t pairs = rope.frequency.size();
  const bool adjacent = rope.pairs == Rope::Pairs::adjacent;
  for (size_t i = 0; i < pairs; ++i) {
    const size_t a = size_t(rope.first) + (adjacent ? 2 * i : i);
    const size_t b = adjacent ? a + 1 : a + pairs;
    const double angle = double(position) * rope.frequency[i];
    const auto cosine = float(std::cos(angle)), sine = float(std::sin(angle));
    columns_[a] = {cosine, -sine, b};
    columns_[b] = {cosine, sine, a};
  }
}

void Turn::turn(std::span<const float> head, std::span<float> out, float direction) const {
  for (size_t c = 0; c < columns_.size(); ++c) {
    const Column& t = columns_[c];
    out[c] = t.cosine * head[c] + direction * t.sine * head[t.partner];
  }
}

void Turn::apply(MatrixView<const float> heads, MatrixView<float> out) const {
  for (size_t c = 0; c < columns_.size(); ++c) {
    const Column& t = columns_[c];
    const auto own = heads.row(c), other = heads.row(t.partner);
    const auto to = out.row(c);
    for (size_t i = 0; i < to.size(); ++i) to[i] = t.cosine * own[i] + t.sine * other[i];
  }
}

}  // namespace kvsplice::live
