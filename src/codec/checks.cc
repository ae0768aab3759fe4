#include "codec/checks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace kvsplice::codec {

namespace {

template <class T>
Result<> check_shape(const Matrix<T>& m, size_t count, size_t width) {
  if (m.rows() == count && m.cols() == width) return {};
  return Error{ErrorKind::format,
               fmt::format("{} x {} values, wanted {} x {}", m.rows(), m.cols(), count, width)};
}

std::string print_dims(const std::vector<size_t>& dims) {
  std::vector<std::string> parts;
  for (size_t d : dims) parts.push_back(d == kAny ? "any" : std::to_string(d));
  return fmt::format("{}", fmt::join(parts, " x "));
}

bool dims_fit(const std::vector<size_t>& dims, const std::vector<size_t>& wanted) {
  return std::equal(dims.begin(), dims.end(), wanted.begin(), wanted.end(),
                    [](size_t d, size_t w) { return w == kAny || d == w; });
}

}  // namespace

Result<> check_fitted(const Rows& rows, size_t fitted_width) {
  if (!rows.quantised && rows.values.cols() == fitted_width) return {};
  return Error{ErrorKind::usage,
               fmt::format("fitted for {} columns, got {}", fitted_width, rows.width())};
}

Result<> check_some_columns(size_t width) {
  if (width > 0) return {};
  return Error{ErrorKind::usage, "nothing is left to quantise: an earlier stage keeps no columns"};
}

Result<> check_finite(MatrixView<const float> values) {
  for (size_t r = 0; r < values.rows; ++r) {
    for (size_t c = 0; c < values.cols; ++c) {
      if (std::isfinite(values(r, c))) continue;
      return Error{ErrorKind::numeric,
                   fmt::format("value {} at row {}, column {}; only finite values can be coded",
                               values(r, c), r, c)};
    }
  }
  return {};
}

Result<> check_values(const Rows& rows, size_t count, size_t width) {
  if (rows.quantised) return Error{ErrorKind::format, "integer codes where values were expected"};
  return check_shape(rows.values, count, width);
}

Result<> check_codes(const Rows& rows, size_t count, size_t width) {
  if (!rows.quantised) return Error{ErrorKind::format, "values where integer codes were expected"};
  return check_shape(rows.codes, count, width);
}

Result<> check_count(size_t count, ByteReader& side) {
  KVS_ASSIGN(const uint64_t written, side.get_varint());
  if (written == count) return {};
  return Error{ErrorKind::format, fmt::format("a block of {} rows, wanted {}", written, count)};
}

Result<> check_heads(const Unit& unit, size_t width) {
  if (unit.width() == width) return {};
  return Error{
      ErrorKind::usage,
      fmt::format("works head by head on all {} columns of the {} heads, got {}; put it in "
                  "front of stages that change the number of columns",
                  unit.width(), unit.head_dims.size(), width)};
}

Result<const StateArray*> find_array(const State& state, const std::string& name,
                                     const std::vector<size_t>& dims) {
  const auto found = state.find(name);
  if (found == state.end()) {
    return Error{ErrorKind::format, fmt::format("the codec holds no array '{}'", name)};
  }
  const StateArray& array = found->second;
  size_t size = 1;
  for (size_t d : array.dims) size *= d;
  if (!dims_fit(array.dims, dims) || array.values.size() != size) {
    return Error{ErrorKind::format,
                 fmt::format("array '{}' is {} ({} values), wanted {}", name,
                             print_dims(array.dims), array.values.size(), print_dims(dims))};
  }
  for (float v : array.values) {
    if (!std::isfinite(v)) {
      return Error{ErrorKind::format, fmt::format("array '{}' holds {}", name, v)};
    }
  }
  return &array;
}

}  // namespace kvsplice::codec
