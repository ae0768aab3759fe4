// Bits for every column by what each of them gains, and levels in integers of eight bits.
#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "codec/quantise/widths/widths.h"
#include "core/threads.h"
#include "fit/stage_fit.h"
#include "linalg/linalg.h"
#include "solve/lloyd.h"

namespace kvsplice::codec {

namespace {

LevelCodes rounded(int width, const std::vector<double>& levels) {
  double peak = 0;
  for (double level : levels) peak = std::max(peak, std::abs(level));
  LevelCodes column{width, static_cast<float>(peak / kLargestLevelCode), {}};
  for (double level : levels) {
    const double code = peak > 0 ? level * (double(kLargestLevelCode) / peak) : 0;
    column.codes.push_back(static_cast<float>(std::round(code)) + 0.f);  // no negative zeros
  }
  return column;
}

double error_of(const SortedColumn& values, const LevelCodes& column) {
  std::vector<double> levels;
  for (size_t i = 0; i < column.codes.size(); ++i) levels.push_back(column.level(i));
  return values.error(levels);
}

// Of every width up to `most`.
std::vector<LevelCodes> fit_levels(const SortedColumn& values, int most) {
  std::vector<LevelCodes> columns;
  for (int width = 0; width <= most; ++width) {
    columns.push_back(rounded(width, values.levels(size_t{1} << width)));
  }
  return columns;
}

// The width of least error and price together.
const LevelCodes& choose(const std::vector<LevelCodes>& columns, std::span<const double> errors,
                         double price) {
  size_t best = 0;
  for (size_t w = 1; w < columns.size(); ++w) {
    if (errors[w] + price * double(w) < errors[best] + price * double(best)) best = w;
  }
  return columns[best];
}

Result<State> fit_widths(const WidthsParams& params, const Rows& rows, const FitContext& context) {
  const MatrixView<const float> x = rows.values;
  KVS_TRY(check_some_columns(x.cols));
  if (x.rows == 0) return Error{ErrorKind::numeric, "no rows to learn levels from"};
  KVS_TRY(check_finite(x));
  const double rms = context.rms > 0 ? context.rms : rms_about_mean(x);
  const auto grades = size_t(params.grades);
  std::vector<LevelCodes> columns(grades * x.cols);
  parallel_for(x.cols, [&](size_t c) {
    const SortedColumn values(x, c);
    const std::vector<LevelCodes> fitted = fit_levels(values, params.most);
    std::vector<double> errors;
    for (const LevelCodes& column : fitted) errors.push_back(error_of(values, column));
    for (size_t g = 0; g < grades; ++g) {
      const double delta = params.delta_of(g);
      columns[g * x.cols + c] = choose(fitted, errors, delta * delta * rms * rms / 12);
    }
  });
  return state_of(columns);
}

}  // namespace

StageFit widths_fit() { return stage_fit<WidthsParams>("widths", fit_widths); }

}  // namespace kvsplice::codec
