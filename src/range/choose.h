// Codes chosen by what they cost: of those near a value, the one whose squared error and bits are
// together the least. Bits are what the coder will take for it where it stands, so rows are chosen
// in the order in which they are coded.
#pragma once

#include "range/model.h"

namespace kvsplice::range {

class Chooser {
 public:
  // price: of a bit, in squared steps. The model must outlive this.
  Chooser(const Model& model, float price);

  // The next row of a block. values: size model.columns, in steps, of magnitudes below 2^30.
  void choose(std::span<const float> values, std::span<int32_t> codes);

 private:
  int32_t best_of(float value, const float* bits, int low_bits) const;

  const Model& model_;
  float price_;
  std::vector<std::array<float, kSymbols>> bits_;  // by class and symbol
  Contexts contexts_;
};

}  // namespace kvsplice::range
