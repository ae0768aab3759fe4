#include "live/form.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "codec/quantise/widths/widths.h"
#include "core/random.h"
#include "linalg/transposed.h"

namespace kvsplice::live {

namespace {

using codec::CodeContext;
using codec::Rows;
using codec::Stage;
using codec::Unit;
using codec::UnitCoder;

static_assert(codec::kPlaneRows == plane_kernel::kRows);
static_assert(size_t{1} << codec::kMostWidth == plane_kernel::kLevels);

constexpr double kTolerance = 1e-3;  // of the rms of rows, for what ought to be linear

Error not_live(const UnitCoder& unit, const std::string& why) {
  return {ErrorKind::usage, fmt::format("no live cache of pipeline '{}': {}",
                                        codec::print(unit.pipeline().text), why)};
}

// Where the linear stages begin, and `widths` is.
struct Places {
  size_t first = 0, last = 0;
  bool mean = false;
};

Result<Places> places_of(const UnitCoder& unit) {
  const auto& text = unit.pipeline().text;
  Places places;
  places.last = text.size() - 1;
  if (text.back().name != "widths") return not_live(unit, "it has to end with `widths`");
  const auto& traits = unit.pipeline().traits;
  if (traits.history > 0 || traits.embeddings || traits.whole_block || traits.reach > 0) {
    return not_live(unit, "a stage looks at more than the row at hand");
  }
  if (unit.unit().kind == Kind::value) return places;
  places.mean = text.front().name == "rotmean";
  places.first = places.mean ? 1 : 0;
  if (places.first >= places.last || text[places.first].name != "rotate") {
    return not_live(unit, "keys need `rotate` in front, or `rotmean(rest=on) | rotate`");
  }
  ++places.first;
  return places;
}

// Through stages [first, last), at position 0.
Result<Matrix<float>> through(const UnitCoder& unit, size_t first, size_t last, Matrix<float> rows,
                              bool back) {
  const std::vector<int32_t> zeros(rows.rows());
  const CodeContext context{unit.unit(), zeros, zeros};
  const size_t count = rows.rows();
  Rows on_the_way{std::move(rows), {}, false, 0};
  for (size_t i = 0; i < last - first; ++i) {
    const size_t s = back ? last - 1 - i : first + i;
    ByteWriter side;
    ByteReader none({});
    const auto done = back ? unit.stages()[s]->decode(on_the_way, count, context, none)
                           : unit.stages()[s]->encode(on_the_way, context, side);
    if (!done.ok() || on_the_way.quantised || side.size() > 0) {
      return not_live(unit, fmt::format("'{}' is not linear", unit.pipeline().text[s].name));
    }
  }
  return std::move(on_the_way.values);
}

Matrix<float> unit_rows(size_t n) {
  Matrix<float> rows(n + 1, n);  // and one of zeros
  for (size_t i = 0; i < n; ++i) rows(i, i) = 1;
  return rows;
}

double rms(std::span<const float> values) {
  double sum = 0;
  for (float v : values) sum += double(v) * v;
  return std::sqrt(sum / double(std::max<size_t>(1, values.size())));
}

// What stages make of random columns is what the folded matrix does.
Result<> check_linear(const UnitCoder& unit, const Places& at, const Matrix<float>& ways) {
  const size_t columns = ways.rows() - 1;
  Random random(1);
  Matrix<float> some(3, columns);
  for (float& v : some.flat()) v = static_cast<float>(random.normal());
  KVS_ASSIGN(const Matrix<float> made, through(unit, at.first, at.last, some, true));
  for (size_t r = 0; r < some.rows(); ++r) {
    std::vector<float> off(made.row(r).begin(), made.row(r).end());
    for (size_t j = 0; j < off.size(); ++j) {
      off[j] -= ways(columns, j);
      for (size_t c = 0; c < columns; ++c) off[j] -= some(r, c) * (ways(c, j) - ways(columns, j));
    }
    if (!(rms(off) <= kTolerance * rms(made.row(r)))) return not_live(unit, "it is not linear");
  }
  return {};
}

std::vector<HeadColumns> columns_of_heads(const Unit& unit, const Matrix<float>& out) {
  std::vector<HeadColumns> heads;
  size_t at = 0;
  for (int dim : unit.head_dims) {
    size_t first = out.rows(), end = 0;
    for (size_t c = 0; c < out.rows(); ++c) {
      if (rms(out.row(c).subspan(at, size_t(dim))) == 0) continue;
      first = std::min(first, c);
      end = c + 1;
    }
    heads.push_back(end > first ? HeadColumns{first, end - first} : HeadColumns{});
    at += size_t(dim);
  }
  return heads;
}

Matrix<float> turned_back(const Rope& rope, size_t dim, size_t by) {
  Matrix<float> ways(dim, dim);
  for (size_t c = 0; c < dim; ++c) ways(c, c) = 1;
  rope.undo(ways, int(dim), std::vector<int32_t>(dim, int32_t(by)));
  return ways;
}

// From what turning back makes of each direction of a head.
std::vector<RotatingMean::Turn> turns_of(const Rope& rope, size_t dim) {
  const Matrix<float> one = turned_back(rope, dim, 1);
  const Matrix<float> block = turned_back(rope, dim, plane_kernel::kRows);
  std::vector<RotatingMean::Turn> turns;
  for (size_t c = 0; c < dim; ++c) {
    size_t partner = c;
    for (size_t i = 0; i < dim; ++i) {
      if (i != c && one(i, c) != 0) partner = i;
    }
    turns.push_back({block(c, c), partner == c ? 0 : block(partner, c), partner});
  }
  return turns;
}

RotatingMean rotating_mean(const Unit& unit, const std::vector<float>& mean) {
  constexpr size_t kRows = plane_kernel::kRows;
  const int dim = unit.head_dims[0];
  std::vector<int32_t> positions(kRows);
  std::iota(positions.begin(), positions.end(), 0);
  Matrix<float> rows(kRows, mean.size());
  for (size_t r = 0; r < kRows; ++r) std::copy(mean.begin(), mean.end(), rows.row(r).begin());
  unit.rope.apply(rows, dim, positions);
  Rope rope = unit.rope;
  rope.magnitude = 1;
  return {transposed(rows), turns_of(rope, size_t(dim)), rope};
}

Result<FoldedUnit> fold(const UnitCoder& unit) {
  KVS_ASSIGN(const Places at, places_of(unit));
  const size_t width = unit.unit().width();
  KVS_ASSIGN(const Matrix<float> forth,
             through(unit, at.first, at.last, Matrix<float>(1, width), false));
  const size_t columns = forth.cols();
  KVS_ASSIGN(const Matrix<float> ways, through(unit, at.first, at.last, unit_rows(columns), true));
  KVS_TRY(check_linear(unit, at, ways));
  KVS_ASSIGN(const auto levels, codec::load_levels(unit.stages()[at.last]->save(), columns));
  FoldedUnit folded;
  folded.rest.assign(ways.row(columns).begin(), ways.row(columns).end());
  std::vector<float> out;
  for (size_t c = 0; c < columns; ++c) {
    const codec::LevelCodes& column = levels[c];
    std::vector<float> way(width);
    for (size_t j = 0; j < width; ++j) way[j] = column.scale * (ways(c, j) - ways(columns, j));
    if (column.width == 0) {
      for (size_t j = 0; j < width; ++j) folded.rest[j] += column.codes[0] * way[j];
      continue;
    }
    folded.widths.push_back(uint8_t(column.width));
    folded.block_bytes += size_t(column.width) * plane_kernel::kPlane;
    std::vector<int8_t> table(plane_kernel::kLevels);
    std::copy(column.codes.begin(), column.codes.end(), table.begin());
    folded.levels.insert(folded.levels.end(), table.begin(), table.end());
    out.insert(out.end(), way.begin(), way.end());
  }
  folded.out = Matrix<float>(folded.columns(), width);
  std::copy(out.begin(), out.end(), folded.out.data());
  folded.heads = columns_of_heads(unit.unit(), folded.out);
  if (at.mean) {
    folded.mean = rotating_mean(unit.unit(), unit.stages()[0]->save().at("mean").values);
  }
  return folded;
}

}  // namespace

double FoldedUnit::bits_per_value() const {
  return 8.0 * double(block_bytes) / double(plane_kernel::kRows * rest.size());
}

Result<LiveForm> LiveForm::of(std::shared_ptr<const codec::Codec> codec) {
  LiveForm form(std::move(codec));
  for (const UnitCoder& unit : form.codec_->units()) {
    KVS_ASSIGN(FoldedUnit folded, fold(unit));
    form.units_.push_back(std::move(folded));
  }
  return form;
}

double LiveForm::bits_per_value() const {
  size_t bytes = 0, values = 0;
  for (const FoldedUnit& unit : units_) {
    bytes += unit.block_bytes;
    values += plane_kernel::kRows * unit.rest.size();
  }
  return 8.0 * double(bytes) / double(values);
}

size_t LiveForm::table_bytes() const {
  size_t bytes = codec_->state_bytes();  // by which rows are encoded
  for (const FoldedUnit& u : units_) {
    bytes += u.widths.size() + u.levels.size() + u.mean.bytes() +
             sizeof(float) * (u.out.size() + u.rest.size());
  }
  return bytes;
}

Result<Bytes> LiveForm::encode(Kind kind, size_t layer, Matrix<float> rows, size_t first) const {
  const UnitCoder& coder = codec_->units()[2 * layer + index(kind)];
  const std::vector<int32_t> tokens(rows.rows());
  std::vector<int32_t> positions(rows.rows());
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = int32_t(first + i);
  if (kind == Kind::key) {
    turn_keys(rows, shape().layers[layer], positions, Space::cached, Space::raw);
  }
  const CodeContext context{coder.unit(), tokens, positions};
  Rows on_the_way{std::move(rows), {}, false, 0};
  ByteWriter side;
  for (const auto& stage : coder.stages()) {
    KVS_TRY(stage->encode(on_the_way, context, side));
  }
  Bytes bytes = side.take();
  bytes.erase(bytes.begin());  // the number of rows
  return bytes;
}

}  // namespace kvsplice::live
