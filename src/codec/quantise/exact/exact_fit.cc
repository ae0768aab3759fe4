// The prediction, and how coarse a grid it deserves.
#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "codec/quantise/exact/cell_code.h"
#include "codec/quantise/exact/cell_predictor_fit.h"
#include "core/threads.h"
#include "fit/stage_fit.h"

namespace kvsplice::codec {

namespace {

using namespace exact;

// Of rows in integers, which no other stage has.
struct SharedCells {
  layers::SharedProducts products;
};

// A quarter of what predictions miss by, as a power of two: coarse enough for the entropy coder's
// tables, fine enough for the cells of a bucket to be about equally likely.
std::vector<float> choose_grid(const CellPredictor& predictor, const Inputs& read,
                               const Side& target, std::span<const int32_t> positions) {
  constexpr size_t kMostTiles = 512;
  const size_t tiles = (target.rows.rows + kTile - 1) / kTile;
  const size_t used = std::min(tiles, kMostTiles), stride = tiles / used;
  const Columns& columns = target.columns;
  std::vector<std::vector<double>> missed(used, std::vector<double>(columns.width()));
  std::vector<size_t> rows(used);
  parallel_for(used, [&](size_t i) {
    const size_t first = i * stride * kTile, n = std::min(kTile, target.rows.rows - first);
    rows[i] = n;
    const auto cells = target.rows.row_range(first, n);
    const std::vector<Turn> turns = turns_of(columns, positions, first, n);
    std::vector<int16_t> own(columns.width() * kTile);
    to_tile(columns, cells, predictor.exponents(), turns, own.data());
    predictor.for_pairs(predictor.input_tile(read.sides, first, n, positions), columns, turns, own,
                        [&](size_t p, const Expected& expected) {
                          for_cells(columns, p, n, [&](size_t which, size_t c, size_t t) {
                            const int unit = predictor.exponent(p) + kExtraBits;
                            missed[i][2 * p + which] += std::abs(
                                cells(t, c) - std::ldexp(double(expected[which][t]), -unit));
                          });
                        });
  });
  std::vector<float> grid(columns.width());
  for (size_t r = 0; r < grid.size(); ++r) {
    double sum = 0, count = 0;
    for (size_t i = 0; i < used; ++i) {
      sum += missed[i][r];
      count += double(rows[i]);
    }
    constexpr double kDeviation = 1.25;  // standard over mean absolute
    const double wanted = std::round(std::log2(kDeviation * sum / count + 1e-30)) - 2;
    grid[r] =
        static_cast<float>(std::clamp<double>(wanted, least_grid(predictor, r / 2), kLargestGrid));
  }
  return grid;
}

Result<State> fit_exact(const Params& params, const Rows& rows, const FitContext& context) {
  KVS_TRY(check_some_columns(rows.values.cols()));
  if (rows.values.rows() == 0) return Error{ErrorKind::numeric, "no rows to learn from"};
  KVS_TRY(check_cells(rows.values));
  const Inputs read = inputs_of(params, context);
  const Side target{Columns(context.unit), rows.values};
  KVS_TRY(check_positions(read, target.columns, rows.values.rows(), context));
  KVS_ASSIGN(const CellPredictor predictor,
             fit_cell_predictor(read, target, context.positions, params.ridge,
                                context.shared->of<SharedCells>().products));
  State state = predictor.save();
  const std::vector<float> grid = choose_grid(predictor, read, target, context.positions);
  state["grid"] = {{grid.size()}, grid, Storage::i8};
  return state;
}

}  // namespace

StageFit exact_fit() { return stage_fit<Params>("exact", fit_exact); }

}  // namespace kvsplice::codec
