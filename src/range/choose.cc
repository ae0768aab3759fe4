#include "range/choose.h"

#include <cmath>

namespace kvsplice::range {

Chooser::Chooser(const Model& model, float price)
    : model_(model), price_(price), bits_(model.classes.size()), contexts_(model) {
  for (size_t k = 0; k < bits_.size(); ++k) {
    for (size_t s = 0; s < kSymbols; ++s) {
      bits_[k][s] = kTotalBits - std::log2(float(model.classes[k].frequency[s]));
    }
    bits_[k][kEscape] += 12;
  }
}

// `value` is about the column's centre.
int32_t Chooser::best_of(float value, const float* bits, int low_bits) const {
  const float magnitude = std::abs(value);
  const auto nearest = static_cast<int32_t>(magnitude + 0.5f);
  if (nearest == 0) return 0;
  int32_t best = 0;
  float least = INFINITY;
  for (int32_t m = nearest; m >= 0; m = m > nearest - 1 ? m - 1 : m > 0 ? 0 : -1) {
    const int32_t code = value < 0 ? -m : m;
    const float error = magnitude - static_cast<float>(m);
    const float cost = error * error + price_ * bits[symbol_of(code >> low_bits)];
    if (cost < least) {
      least = cost;
      best = code;
    }
  }
  return best;
}

void Chooser::choose(std::span<const float> values, std::span<int32_t> codes) {
  contexts_.begin_row();
  for (size_t g = 0; g < model_.groups(); ++g) {
    const size_t index = contexts_.class_of(g);
    const float* bits = bits_[index].data();
    const int low_bits = model_.classes[index].low_bits;
    uint32_t sum = 0;
    for (size_t c = g * kLanes; c < std::min(model_.columns, (g + 1) * kLanes); ++c) {
      const int32_t centre = model_.centre[c];
      const int32_t own = best_of(values[c] - static_cast<float>(centre), bits, low_bits);
      codes[c] = own + centre;
      sum += cut_magnitude(own);
    }
    contexts_.push(g, sum);
  }
  contexts_.end_row();
}

}  // namespace kvsplice::range
