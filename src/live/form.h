// What attention needs of a codec to read its blocks as they are (docs/live.md). Such a codec has
// `rotate` before all that mixes columns of keys, perhaps behind `rotmean(rest=on)`, and `widths`
// at the end of both pipelines; what is between is linear.
#pragma once

#include <memory>
#include <vector>

#include "codec/codec.h"
#include "live/plane_kernel.h"

namespace kvsplice::live {

// Columns of a block that a head is made of: all of them where heads were mixed.
struct HeadColumns {
  size_t first = 0, count = 0;
};

// R(position) mean of keys, for queries that are turned instead: q . R(start + i) m is
// (R(start)^T q) . R(i) m.
struct RotatingMean {
  // A value of a row that is turned back by 64 positions: own x itself + other x its partner.
  struct Turn {
    float own, other;
    size_t partner;
  };

  Matrix<float> turned;     // R(0 ... 63) mean: [width of the rows x 64]; empty: there is no mean
  std::vector<Turn> turns;  // of a head's columns
  Rope rope;                // turns only: its magnitude is 1

  bool empty() const { return turned.empty(); }
  size_t bytes() const { return sizeof(float) * turned.size() + sizeof(Turn) * turns.size(); }
};

// Of one layer's keys or values: row = sum over columns of level x out.row(column), + rest; keys
// also + R(position) mean.
struct FoldedUnit {
  std::vector<uint8_t> widths;  // of the columns that have bits: 1 ... 6
  std::vector<int8_t> levels;   // [columns x plane_kernel::kLevels]
  Matrix<float> out;            // [columns x width of the rows]; a column's scale is in it
  std::vector<float> rest;      // [width of the rows]
  RotatingMean mean;            // of keys
  std::vector<HeadColumns> heads;
  size_t block_bytes = 0;  // of 64 tokens

  size_t columns() const { return widths.size(); }
  plane_kernel::Columns planes() const { return {columns(), widths.data(), levels.data()}; }
  double bits_per_value() const;
};

class LiveForm {
 public:
  // Error usage if its pipelines are of another form, and which stage is not.
  static Result<LiveForm> of(std::shared_ptr<const codec::Codec> codec);

  const ModelShape& shape() const { return codec_->shape(); }
  const FoldedUnit& unit(Kind kind, size_t layer) const { return units_[2 * layer + index(kind)]; }
  double bits_per_value() const;  // of blocks; tables are not counted
  size_t table_bytes() const;     // of all folded units, and the codec's state as it is saved

  // 64 rows as the cache holds them, from position `first`, to a block's bytes.
  Result<Bytes> encode(Kind kind, size_t layer, Matrix<float> rows, size_t first) const;

 private:
  explicit LiveForm(std::shared_ptr<const codec::Codec> codec) : codec_(std::move(codec)) {}
  static size_t index(Kind kind) { return kind == Kind::key ? 0 : 1; }

  std::shared_ptr<const codec::Codec> codec_;
  std::vector<FoldedUnit> units_;  // keys, then values, layer by layer
};

}  // namespace kvsplice::live
