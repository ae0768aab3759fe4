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
};

// Those of another source, which has to outlive it, but for what is overridden.
class RowsOfAnother : public RowSource {
 public:
  explicit RowsOfAnother(const RowSource& rows) : rows_(rows) {}
  std::span<const int32_t> tokens() const override { return rows_.tokens(); }
  std::span<const int32_t> positions() const override { return rows_.positions(); }
  Result<Matrix<float>> read(Kind kind, int layer) const override {
    return rows_.read(kind, layer);
  }
  Result<Attention> read_attention(int layer) const override { return rows_.read_attention(layer); }
  Result<Information> read_information(Kind kind, int layer) const override {
    return rows_.read_information(kind, layer);
  }

 private:
  const RowSource& rows_;
};

}  // namespace kvsplice::codec
