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

// The width of least error and price together.
LevelCodes fit_column(const SortedColumn& values, double price, int most) {
  LevelCodes best;
  double least = std::numeric_limits<double>::infinity();
  for (int width = 0; width <= most; ++width) {
    LevelCodes column = rounded(width, values.levels(size_t{1} << width));
    const double cost = error_of(values, column) + price * width;
    if (cost < least) {
      least = cost;
      best = std::move(column);
    }
  }
  return best;
}

Result<State> fit_widths(const WidthsParams& params, const Rows& rows, const FitContext& context) {
  const MatrixView<const float> x = rows.values;
  KVS_TRY(check_some_columns(x.cols));
  if (x.rows == 0) return Error{ErrorKind::numeric, "no rows to learn levels from"};
  KVS_TRY(check_finite(x));
  const double rms = context.rms > 0 ? context.rms : rms_about_mean(x);
  const double price = params.delta * params.delta * rms * rms / 12;
  std::vector<LevelCodes> columns(x.cols);
  parallel_for(x.cols,
               [&](size_t c) { columns[c] = fit_column(SortedColumn(x, c), price, params.most); });
  return state_of(columns);
}

}  // namespace

StageFit widths_fit() { return stage_fit<WidthsParams>("widths", fit_widths); }

}  // namespace kvsplice::codec
