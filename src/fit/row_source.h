// Calibration rows, one unit at a time, so that only a few units are in memory at once.
#pragma once

#include <span>

#include "fit/stage_fit.h"

namespace kvsplice::codec {

class RowSource {
 public:
  virtual ~RowSource() = default;
  virtual std::span<const int32_t> tokens() const = 0;
  virtual std::span<const int32_t> positions() const = 0;
  // [tokens x width] of one layer; keys before rotary embedding.
  virtual Result<Matrix<float>> read(Kind kind, int layer) const = 0;
  // Of the rows whose queries are known; error usage if there are none.
  virtual Result<Attention> read_attention(int layer) const;
  // Error usage if it is not known.
  virtual Result<Information> read_information(Kind kind, int layer) const;
  // What the steps of a unit are multiplied by, beside what its pipeline says.
  virtual double step_scale(const Unit&) const { return 1; }
};

}  // namespace kvsplice::codec
