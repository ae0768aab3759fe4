#include "live/form.h"

#include <fmt/format.h>

#include <cmath>

#include "codec/checks.h"
#include "codec/quantise/widths/widths.h"
#include "core/random.h"
#include "linalg/linalg.h"

namespace kvsplice::live {

namespace {

using codec::CodeContext;
using codec::Rows;
using codec::Stage;
using codec::Unit;
using codec::UnitCoder;

static_assert(codec::kPlaneRows == plane_kernel::kRows);

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

// An affine map: what it makes of rows with a one, and of zeros.
struct Affine {
  Matrix<float> ways;  // [from x to]
  std::vector<float> rest;
};

// What the stages do to rows, or back to them, if that is affine: tried with random rows.
Result<Affine> affine(const UnitCoder& unit, const Places& at, size_t width, bool back) {
  KVS_ASSIGN(const Matrix<float> made, through(unit, at.first, at.last, unit_rows(width), back));
  Affine map{Matrix<float>(width, made.cols()), {}};
  map.rest.assign(made.row(width).begin(), made.row(width).end());
  for (size_t i = 0; i < width; ++i) {
    for (size_t j = 0; j < made.cols(); ++j) map.ways(i, j) = made(i, j) - map.rest[j];
  }
  Random random(1);
  Matrix<float> some(3, width);
  for (float& v : some.flat()) v = static_cast<float>(random.normal());
  KVS_ASSIGN(const Matrix<float> wanted, through(unit, at.first, at.last, some, back));
  Matrix<float> got(some.rows(), made.cols());
  gemm(Trans::no, Trans::no, 1.f, some, map.ways, 0.f, got);
  for (size_t r = 0; r < some.rows(); ++r) {
    for (size_t j = 0; j < made.cols(); ++j) got(r, j) += map.rest[j] - wanted(r, j);
    if (!(rms(got.row(r)) <= kTolerance * rms(wanted.row(r)))) {
      return not_live(unit, "it is not linear");
    }
  }
  return map;
}

// Heads that follow each other, and the columns that they alone have to do with.
struct Share {
  size_t head = 0, heads = 0;
  size_t first = 0, end = 0;  // columns
};

// Of one head; none if it has no columns.
Share columns_of_head(const Affine& into, const Affine& out, size_t head, size_t dim) {
  Share share{head, 1, 0, 0};
  const size_t at = head * dim;
  for (size_t c = 0; c < out.ways.rows(); ++c) {
    bool used = rms(out.ways.row(c).subspan(at, dim)) > 0;
    for (size_t i = at; i < at + dim && !used; ++i) used = into.ways(i, c) != 0;
    if (!used) continue;
    if (share.end == 0) share.first = c;
    share.end = c + 1;
  }
  return share;
}

// Heads are put together that have columns in common, with all heads between them.
std::vector<Share> shares_of(const Affine& into, const Affine& out, size_t heads, size_t dim) {
  std::vector<Share> shares;
  for (size_t h = 0; h < heads; ++h) {
    Share own = columns_of_head(into, out, h, dim);
    while (!shares.empty() && own.end > 0 && own.first < shares.back().end) {
      const Share& last = shares.back();
      own = {last.head, h + 1 - last.head, std::min(own.first, last.first),
             std::max(own.end, last.end)};
      shares.pop_back();
    }
    shares.push_back(own);
  }
  return shares;
}

// The columns of a share that have bits in some grade.
std::vector<size_t> used_columns(const std::vector<codec::LevelCodes>& levels, size_t all,
                                 const Share& share) {
  std::vector<size_t> used;
  for (size_t c = share.first; c < share.end; ++c) {
    bool has_bits = false;
    for (size_t i = c; i < levels.size(); i += all) has_bits |= levels[i].width > 0;
    if (has_bits) used.push_back(c);
  }
  return used;
}

Grade grade_of(std::span<const codec::LevelCodes> levels, const std::vector<size_t>& used) {
  Grade grade;
  for (size_t i = 0; i < used.size(); ++i) {
    const codec::LevelCodes& column = levels[used[i]];
    if (column.width == 0) continue;
    grade.widths.push_back(uint8_t(column.width));
    std::vector<int8_t> table(plane_kernel::table_size(size_t(column.width)));
    std::copy(column.codes.begin(), column.codes.end(), table.begin());
    grade.levels.insert(grade.levels.end(), table.begin(), table.end());
    grade.scales.push_back(column.scale);
    grade.columns.push_back(uint16_t(i));
  }
  return grade;
}

Band band_of(Kind kind, const Affine& into, const Affine& out,
             const std::vector<codec::LevelCodes>& levels, const Share& share, size_t dim) {
  const size_t all = out.ways.rows(), at = share.head * dim, width = share.heads * dim;
  const std::vector<size_t> used = used_columns(levels, all, share);
  Band band;
  band.head = share.head;
  band.heads = share.heads;
  Matrix<float> from(width, used.size()), to(used.size(), width);
  for (size_t i = 0; i < used.size(); ++i) {
    for (size_t j = 0; j < width; ++j) {
      from(j, i) = into.ways(at + j, used[i]);
      to(i, j) = out.ways(used[i], at + j);
    }
    band.start.push_back(into.rest[used[i]]);
  }
  band.into = HalfMatrix(from);
  band.out = OutMatrix(kind, to, dim);
  for (size_t g = 0; g < levels.size() / all; ++g) {
    band.grades.push_back(grade_of(std::span(levels).subspan(g * all, all), used));
  }
  return band;
}

// Values of a grade's rows that no bits change.
void add_rest(const Affine& out, std::span<const codec::LevelCodes> levels, std::span<float> rest) {
  std::copy(out.rest.begin(), out.rest.end(), rest.begin());
  for (size_t c = 0; c < levels.size(); ++c) {
    if (levels[c].width > 0) continue;
    for (size_t j = 0; j < rest.size(); ++j) rest[j] += levels[c].level(0) * out.ways(c, j);
  }
}

// Where planes stand: grades share the blocks of a group, and bands a block.
void lay_out(FoldedUnit& unit) {
  constexpr std::array<size_t, kBlocks> kGradeOf[codec::kMostGrades] = {
      {0, 0, 0, 0}, {0, 0, 1, 1}, {0, 1, 1, 2}, {0, 1, 2, 3}};
  const size_t grades = unit.rest.rows();
  std::vector<size_t> block_bytes(grades);
  for (Band& band : unit.bands) {
    for (size_t g = 0; g < grades; ++g) {
      band.grades[g].first_byte = block_bytes[g];
      for (uint8_t width : band.grades[g].widths) block_bytes[g] += width * plane_kernel::kPlane;
    }
  }
  unit.grade_of = kGradeOf[grades - 1];
  for (size_t b = 0; b < kBlocks; ++b) {
    unit.first_byte[b] = unit.group_bytes;
    unit.group_bytes += block_bytes[unit.grade_of[b]];
  }
}

Result<FoldedUnit> fold(const UnitCoder& unit) {
  KVS_ASSIGN(const Places at, places_of(unit));
  KVS_ASSIGN(const Affine into, affine(unit, at, unit.unit().width(), false));
  const size_t columns = into.rest.size();
  KVS_ASSIGN(const Affine out, affine(unit, at, columns, true));
  const codec::State state = unit.stages()[at.last]->save();
  const size_t grades = state.at("widths").values.size() / columns;
  KVS_ASSIGN(const auto levels, codec::load_levels(state, grades * columns));
  FoldedUnit folded;
  folded.rest = Matrix<float>(grades, unit.unit().width());
  for (size_t g = 0; g < grades; ++g) {
    add_rest(out, std::span(levels).subspan(g * columns, columns), folded.rest.row(g));
  }
  const auto dim = size_t(unit.unit().head_dims[0]);
  for (const Share& share : shares_of(into, out, unit.unit().head_dims.size(), dim)) {
    folded.bands.push_back(band_of(unit.unit().kind, into, out, levels, share, dim));
  }
  lay_out(folded);
  if (at.mean) {
    folded.mean.emplace(unit.unit().rope, unit.stages()[0]->save().at("mean").values, dim);
  }
  return folded;
}

// Half way between two levels belongs to the lower one, and of equal levels the first is used, as
// the stage does.
size_t nearest(const int8_t* levels, size_t width, float scale, float value) {
  size_t code = 0;
  for (size_t i = 1; i < size_t{1} << width; ++i) {
    const float low = scale * levels[i - 1], high = scale * levels[i];
    if (low < high && value > low + (high - low) / 2) code = i;
  }
  return code;
}

// Planes of the 64 rows of a column that `order` names.
void put_planes(const int8_t* levels, size_t width, float scale, MatrixView<const float> values,
                std::span<const uint8_t> order, size_t column, uint8_t* to) {
  uint64_t planes[codec::kMostWidth] = {};
  for (size_t r = 0; r < order.size(); ++r) {
    const size_t code = nearest(levels, width, scale, values(order[r], column));
    for (size_t b = 0; b < width; ++b) planes[b] |= uint64_t(code >> b & 1) << r;
  }
  for (size_t b = width; b-- > 0; to += plane_kernel::kPlane) {
    for (size_t i = 0; i < plane_kernel::kPlane; ++i) to[i] = uint8_t(planes[b] >> 8 * i);
  }
}

void put_block(const Grade& grade, MatrixView<const float> values, std::span<const uint8_t> order,
               uint8_t* to) {
  const int8_t* levels = grade.levels.data();
  to += grade.first_byte;
  for (size_t c = 0; c < grade.count(); ++c) {
    const size_t width = grade.widths[c];
    put_planes(levels, width, grade.scales[c], values, order, grade.columns[c], to);
    levels += plane_kernel::table_size(width);
    to += width * plane_kernel::kPlane;
  }
}

// Adds to each row, or takes from it, what its error is more in this grade than if no column had
// bits.
void add_errors(const Grade& grade, MatrixView<const float> values, float sign,
                std::span<float> to) {
  const int8_t* levels = grade.levels.data();
  for (size_t c = 0; c < grade.count(); ++c) {
    const float scale = grade.scales[c];
    for (size_t r = 0; r < values.rows; ++r) {
      const float value = values(r, grade.columns[c]);
      const float error = value - scale * levels[nearest(levels, grade.widths[c], scale, value)];
      to[r] += sign * (error * error - value * value);
    }
    levels += plane_kernel::table_size(grade.widths[c]);
  }
}

}  // namespace

size_t Band::bytes() const {
  size_t bytes = out.bytes() + into.bytes() + sizeof(float) * start.size();
  for (const Grade& g : grades) {
    bytes += g.levels.size() + g.count() * (sizeof(uint8_t) + sizeof(float) + sizeof(uint16_t));
  }
  return bytes;
}

size_t FoldedUnit::bytes() const {
  size_t bytes = sizeof(float) * rest.size() + (mean ? mean->bytes() : 0);
  for (const Band& band : bands) bytes += band.bytes();
  return bytes;
}

Result<LiveForm> LiveForm::of(const codec::Codec& codec) {
  LiveForm form;
  form.shape_ = codec.shape();
  form.codec_ = codec.fingerprint();
  for (const UnitCoder& unit : codec.units()) {
    KVS_ASSIGN(FoldedUnit folded, fold(unit));
    form.units_.push_back(std::move(folded));
  }
  return form;
}

Result<std::shared_ptr<const LiveForm>> LiveForm::load(const std::string& path) {
  KVS_ASSIGN(const codec::Codec codec, codec::Codec::load(path));
  KVS_ASSIGN(LiveForm form, of(codec));
  return std::make_shared<const LiveForm>(std::move(form));
}

double LiveForm::bits_per_value() const {
  size_t bytes = 0, values = 0;
  for (const FoldedUnit& unit : units_) {
    bytes += unit.group_bytes;
    values += kGroup * unit.width();
  }
  return 8.0 * double(bytes) / double(values);
}

size_t LiveForm::table_bytes() const {
  size_t bytes = 0;
  for (const FoldedUnit& u : units_) bytes += u.bytes();
  return bytes;
}

Result<GroupColumns> LiveForm::columns(Kind kind, size_t layer, Matrix<float> rows,
                                       size_t start) const {
  KVS_TRY(codec::check_finite(rows));
  const FoldedUnit& folded = unit(kind, layer);
  const auto dim = size_t(shape_.layers[layer].heads_dim(kind));
  if (folded.mean) {
    const Matrix<float> mean = folded.mean->of_group(start);
    for (size_t r = 0; r < rows.rows(); ++r) {
      for (size_t c = 0; c < rows.cols(); ++c) rows(r, c) -= mean(c, r);
    }
  }
  GroupColumns columns;
  for (const Band& band : folded.bands) {
    Matrix<float> values(rows.rows(), band.columns());
    for (size_t r = 0; r < values.rows(); ++r) {
      std::copy(band.start.begin(), band.start.end(), values.row(r).begin());
    }
    gemm(Trans::no, Trans::no, 1.f, rows.view().col_range(band.head * dim, band.heads * dim),
         band.into.floats(), 1.f, values);
    columns.push_back(std::move(values));
  }
  return columns;
}

std::vector<float> LiveForm::at_stake(Kind kind, size_t layer, const GroupColumns& columns) const {
  std::vector<float> stakes(kGroup);
  const FoldedUnit& folded = unit(kind, layer);
  if (folded.rest.rows() == 1) return stakes;
  for (size_t n = 0; n < columns.size(); ++n) {
    add_errors(folded.bands[n].grades.back(), columns[n], 1, stakes);
    add_errors(folded.bands[n].grades.front(), columns[n], -1, stakes);
  }
  return stakes;
}

Bytes LiveForm::encode(Kind kind, size_t layer, const GroupColumns& columns,
                       std::span<const uint8_t> order) const {
  const FoldedUnit& folded = unit(kind, layer);
  Bytes bytes(folded.group_bytes + plane_kernel::kReadable);
  for (size_t n = 0; n < columns.size(); ++n) {
    for (size_t b = 0; b < kBlocks; ++b) {
      put_block(folded.bands[n].grades[folded.grade_of[b]], columns[n],
                order.subspan(b * plane_kernel::kRows, plane_kernel::kRows),
                &bytes[folded.first_byte[b]]);
    }
  }
  return bytes;
}

}  // namespace kvsplice::live
