// Levels as many as a column is worth, in whole bits, and no entropy coder: any value can be read
// without those before it. The bits of 64 rows stand in planes, as attention reads them.
#include "codec/quantise/widths/widths.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "codec/make_stage.h"

namespace kvsplice::codec {

namespace {

// Half way between neighbours; of equal levels the first is used.
std::vector<float> thresholds_of(const LevelCodes& column) {
  std::vector<float> half_way(column.codes.size() - 1);
  float above = std::numeric_limits<float>::infinity();
  for (size_t i = half_way.size(); i-- > 0;) {
    const float low = column.level(i), high = column.level(i + 1);
    if (low < high) above = low + (high - low) / 2;
    half_way[i] = above;
  }
  return half_way;
}

// Bytes of a plane of so many rows.
size_t plane_bytes(size_t rows) { return (rows + 7) / 8; }

class Widths : public Stage {
 public:
  explicit Widths(const WidthsParams& params) : params_(params) {}

  Result<> encode(Rows& rows, const CodeContext&, ByteWriter& side) const override {
    KVS_TRY(check_fitted(rows, width_));
    KVS_TRY(check_finite(rows.values));
    side.put_varint(rows.count());
    const size_t grade = params_.middle();
    for (size_t first = 0; first < rows.count(); first += kPlaneRows) {
      const size_t n = std::min(kPlaneRows, rows.count() - first);
      if (grades() > 1) side.put(uint8_t(grade));
      for (size_t c = 0; c < width_; ++c) put_planes(rows.values, first, n, grade, c, side);
    }
    rows.values = Matrix<float>(rows.count(), 0);
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext&, ByteReader& side) const override {
    KVS_TRY(check_count(count, side));
    rows.values = Matrix<float>(count, width_);
    for (size_t first = 0; first < count; first += kPlaneRows) {
      const size_t n = std::min(kPlaneRows, count - first);
      KVS_ASSIGN(const size_t grade, take_grade(side));
      for (size_t c = 0; c < width_; ++c) {
        KVS_TRY(take_planes(side, first, n, grade, c, rows.values));
      }
    }
    return {};
  }

  State save() const override { return state_of(columns_); }

  Result<> load(const State& state, size_t width) override {
    KVS_TRY(check_some_columns(width));
    KVS_ASSIGN(columns_, load_levels(state, grades() * width));
    width_ = width;
    thresholds_.clear();
    for (const LevelCodes& column : columns_) thresholds_.push_back(thresholds_of(column));
    return {};
  }

  size_t output_width(size_t) const override { return 0; }

 private:
  size_t grades() const { return size_t(params_.grades); }

  Result<size_t> take_grade(ByteReader& side) const {
    if (grades() == 1) return 0;
    KVS_ASSIGN(const uint8_t grade, side.get<uint8_t>());
    if (grade < grades()) return grade;
    return Error{ErrorKind::format, fmt::format("grade {} of {}", grade, grades())};
  }

  void put_planes(const Matrix<float>& values, size_t first, size_t n, size_t grade, size_t c,
                  ByteWriter& side) const {
    const std::vector<float>& half_way = thresholds_[grade * width_ + c];
    const int width = columns_[grade * width_ + c].width;
    uint64_t planes[kMostWidth] = {};
    for (size_t r = 0; r < n; ++r) {
      const auto above = std::lower_bound(half_way.begin(), half_way.end(), values(first + r, c));
      const auto code = static_cast<uint64_t>(above - half_way.begin());
      for (int b = 0; b < width; ++b) planes[b] |= (code >> b & 1) << r;
    }
    for (int b = width; b-- > 0;) {
      for (size_t i = 0; i < plane_bytes(n); ++i) side.put(uint8_t(planes[b] >> (8 * i)));
    }
  }

  Result<> take_planes(ByteReader& side, size_t first, size_t n, size_t grade, size_t c,
                       Matrix<float>& values) const {
    const LevelCodes& column = columns_[grade * width_ + c];
    uint64_t planes[kMostWidth] = {};
    for (int b = column.width; b-- > 0;) {
      KVS_ASSIGN(const ByteSpan bytes, side.take(plane_bytes(n)));
      for (size_t i = 0; i < bytes.size(); ++i) planes[b] |= uint64_t(bytes[i]) << (8 * i);
      if (n < kPlaneRows && planes[b] >> n != 0) {
        return Error{ErrorKind::format, "bits of rows that are not there"};
      }
    }
    for (size_t r = 0; r < n; ++r) {
      size_t code = 0;
      for (int b = 0; b < column.width; ++b) code |= size_t(planes[b] >> r & 1) << b;
      values(first + r, c) = column.level(code);
    }
    return {};
  }

  WidthsParams params_;
  size_t width_ = 0;
  std::vector<LevelCodes> columns_;  // of all grades, one behind the other
  std::vector<std::vector<float>> thresholds_;
};

Result<std::vector<size_t>> counts_of(const StateArray& widths) {
  std::vector<size_t> counts;
  for (float width : widths.values) {
    if (!(width >= 0 && width <= kMostWidth) || width != std::round(width)) {
      return Error{ErrorKind::format,
                   fmt::format("a column of {} bits; legal: 0 ... {}", width, kMostWidth)};
    }
    counts.push_back(size_t{1} << int(width));
  }
  return counts;
}

Result<> check_level_codes(const LevelCodes& column) {
  for (float code : column.codes) {
    if (code == std::round(code) && std::abs(code) <= kLargestLevelCode) continue;
    return Error{ErrorKind::format,
                 fmt::format("code {} of a level; legal: integers -127 ... 127", code)};
  }
  if (column.scale >= 0 && std::is_sorted(column.codes.begin(), column.codes.end())) return {};
  return Error{ErrorKind::format, "levels of a column do not ascend"};
}

}  // namespace

State state_of(const std::vector<LevelCodes>& columns) {
  std::vector<float> widths, scales, codes;
  for (const LevelCodes& column : columns) {
    widths.push_back(static_cast<float>(column.width));
    scales.push_back(column.scale);
    codes.insert(codes.end(), column.codes.begin(), column.codes.end());
  }
  State state;
  state["widths"] = {{widths.size()}, widths, Storage::i8};
  state["scales"] = {{scales.size()}, scales};
  state["levels"] = {{codes.size()}, codes, Storage::i8};
  return state;
}

Result<std::vector<LevelCodes>> load_levels(const State& state, size_t count) {
  KVS_ASSIGN(const StateArray* widths, find_array(state, "widths", {count}));
  KVS_ASSIGN(const std::vector<size_t> counts, counts_of(*widths));
  size_t all = 0;
  for (size_t n : counts) all += n;
  KVS_ASSIGN(const StateArray* scales, find_array(state, "scales", {count}));
  KVS_ASSIGN(const StateArray* levels, find_array(state, "levels", {all}));
  std::vector<LevelCodes> columns;
  auto at = levels->values.begin();
  for (size_t c = 0; c < count; ++c) {
    const auto end = at + static_cast<std::ptrdiff_t>(counts[c]);
    columns.push_back({int(widths->values[c]), scales->values[c], {at, end}});
    KVS_TRY(check_level_codes(columns.back()));
    at = end;
  }
  return columns;
}

StageInfo widths_stage() {
  StageInfo info;
  info.name = "widths";
  info.group = "quantise";
  info.summary = "Scalar quantiser of as many whole bits for a column as it is worth.";
  info.params = describe<WidthsParams>();
  info.make = stage_maker<Widths, WidthsParams>("widths");
  return info;
}

}  // namespace kvsplice::codec
