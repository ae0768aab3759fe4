// What attention needs of a codec to read its blocks as they are (docs/live.md). Such a codec has
// `rotate` before all that mixes columns of keys, perhaps behind `rotmean(rest=on)`, and `widths`
// at the end of both pipelines; what is between is linear. Nothing else of the codec is kept: rows
// are encoded by matrices, too.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "codec/codec.h"
#include "live/half_matrix.h"
#include "live/out_matrix.h"
#include "live/plane_kernel.h"
#include "live/rotating_mean.h"

namespace kvsplice::live {

constexpr size_t kBlocks = 4;                             // of a group
constexpr size_t kGroup = kBlocks * plane_kernel::kRows;  // tokens that are coded together
static_assert(kGroup == RotatingMean::kPositions);

// Bits of a band's columns in blocks of one grade; columns without bits are left out.
struct Grade {
  std::vector<uint8_t> widths;    // 1 ... 6
  std::vector<int8_t> levels;     // plane_kernel::table_size(width) places of each
  std::vector<float> scales;      // of levels
  std::vector<uint16_t> columns;  // of the band
  size_t first_byte = 0;          // of the band's planes in a block

  size_t count() const { return widths.size(); }
  plane_kernel::Columns view() const { return {count(), widths.data(), levels.data()}; }
};

// Columns of KV heads that share them with no others: of one head, or of all where heads are mixed.
struct Band {
  size_t head = 0, heads = 0;
  OutMatrix out;             // rows are sums of level x scale x out
  HalfMatrix into;           // [width of its heads x columns]: columns of rows, less their `start`
  std::vector<float> start;  // [columns]
  std::vector<Grade> grades;

  size_t columns() const { return out.columns(); }
  size_t bytes() const;
};

// Of one layer's keys or values: row = sum over a grade's columns of level x scale x out, + rest;
// keys also + R(position) mean.
struct FoldedUnit {
  std::vector<Band> bands;
  Matrix<float> rest;  // [grades x width of the rows]
  std::optional<RotatingMean> mean;
  std::array<size_t, kBlocks> grade_of{};    // of a group's blocks: the first ones are the finest
  std::array<size_t, kBlocks> first_byte{};  // of the blocks
  size_t group_bytes = 0;

  size_t width() const { return rest.cols(); }
  size_t bytes() const;
};

// A group's rows on their way to blocks, as they came: [rows x columns] of each band.
using GroupColumns = std::vector<Matrix<float>>;

class LiveForm {
 public:
  // Error usage if its pipelines are of another form, and which stage is not.
  static Result<LiveForm> of(const codec::Codec& codec);
  // Of the codec in a file.
  static Result<std::shared_ptr<const LiveForm>> load(const std::string& path);

  const ModelShape& shape() const { return shape_; }
  const std::string& codec() const { return codec_; }  // its fingerprint
  const FoldedUnit& unit(Kind kind, size_t layer) const {
    return units_[2 * layer + (kind == Kind::key ? 0 : 1)];
  }
  double bits_per_value() const;  // of groups; tables and the order of tokens are not counted
  size_t table_bytes() const;     // of all folded units

  // Of 256 rows as the cache holds them, the first of which stands at `start`. Error numeric
  // unless they are finite.
  Result<GroupColumns> columns(Kind kind, size_t layer, Matrix<float> rows, size_t start) const;
  // By how much more the coarsest grade changes each row than the finest: squared, over columns. 0
  // of all rows where there is one grade.
  std::vector<float> at_stake(Kind kind, size_t layer, const GroupColumns& columns) const;
  // To a group's bytes and plane_kernel::kReadable more; order: of rows in its blocks.
  Bytes encode(Kind kind, size_t layer, const GroupColumns& columns,
               std::span<const uint8_t> order) const;

 private:
  ModelShape shape_;
  std::string codec_;
  std::vector<FoldedUnit> units_;  // keys, then values, layer by layer
};

}  // namespace kvsplice::live
