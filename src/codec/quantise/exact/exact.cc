// Cells of a cache to the bit: each is told by its place on a grid about where a prediction in
// integers expects it, and by the bits below the grid.
#include "codec/quantise/exact/exact.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "codec/quantise/exact/cell_code.h"
#include "core/half.h"

namespace kvsplice::codec {

namespace {

using namespace exact;

class Exact : public Stage {
 public:
  explicit Exact(const Params& params) : params_(params) {}

  Result<> encode(Rows& rows, const CodeContext& context, ByteWriter& side) const override {
    KVS_TRY(check_fitted(rows, width_));
    KVS_TRY(check_cells(rows.values));
    const Inputs read = inputs_of(params_, context);
    KVS_TRY(check_inputs(read));
    const Columns columns(context.unit);
    KVS_TRY(check_positions(read, columns, rows.values.rows(), context));
    BitWriter bits;
    rows.codes = Matrix<int32_t>(rows.values.rows(), width_);
    for_tiles(rows.values.rows(), [&](size_t first, size_t n) {
      const std::vector<Turn> turns = turns_of(columns, context.positions, first, n);
      std::vector<int16_t> own(columns.width() * kTile);
      const auto cells = rows.values.view().row_range(first, n);
      to_tile(columns, cells, predictor_->exponents(), turns, own.data());
      predictor_->for_pairs(predictor_->input_tile(read.sides, first, n, context.positions),
                            columns, turns, own, [&](size_t p, const Expected& expected) {
                              for_cells(columns, p, n, [&](size_t i, size_t c, size_t t) {
                                const int32_t place =
                                    put_cell(to_half(cells(t, c)), grid_[2 * p + i], bits);
                                rows.codes(first + t, c) =
                                    static_cast<int32_t>(place - (expected[i][t] >> shift(p, i)));
                              });
                            });
      return true;
    });
    side.put_bytes(bits.finish());
    if (context.kept != nullptr) {
      *context.kept = std::move(rows.values);
      for (float& x : context.kept->flat()) x = from_half(to_half(x));
    }
    rows.values = {};
    rows.quantised = true;
    rows.code_bits = 0;
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext& context,
                  ByteReader& side) const override {
    KVS_TRY(check_codes(rows, count, width_));
    if (context.kept != nullptr && !context.kept->empty()) {
      rows = {std::move(*context.kept), {}, false, 0};
      KVS_TRY(side.take(side.left()));
      return {};
    }
    const Inputs read = inputs_of(params_, context);
    KVS_TRY(check_inputs(read));
    const Columns columns(context.unit);
    KVS_TRY(check_positions(read, columns, count, context));
    KVS_ASSIGN(const ByteSpan bytes, side.take(side.left()));
    BitReader bits(bytes);
    Matrix<float> values(count, width_);
    bool good = true;
    for_tiles(count, [&](size_t first, size_t n) {
      const std::vector<Turn> turns = turns_of(columns, context.positions, first, n);
      std::vector<int16_t> own(columns.width() * kTile);
      const auto cells = values.view().row_range(first, n);
      predictor_->for_pairs(predictor_->input_tile(read.sides, first, n, context.positions),
                            columns, turns, own, [&](size_t p, const Expected& expected) {
                              for_cells(columns, p, n, [&](size_t i, size_t c, size_t t) {
                                const auto cell = get_cell(
                                    rows.codes(first + t, c) + (expected[i][t] >> shift(p, i)),
                                    grid_[2 * p + i], bits);
                                good &= cell.has_value();
                                cells(t, c) = from_half(cell.value_or(0));
                              });
                              const Columns::Pair& pair = columns.pairs[p];
                              pair_to_tile(pair, cells, predictor_->exponent(p),
                                           &turns[pair.turn * kTile], &own[2 * kTile * p]);
                            });
      return good;
    });
    if (!good || !bits.at_end()) {
      return Error{ErrorKind::format, good ? "the bits of the cells do not end with the cells"
                                           : "a cell lies beyond half precision"};
    }
    rows = {std::move(values), {}, false, 0};
    return {};
  }

  State save() const override {
    if (!predictor_) return {};
    State state = predictor_->save();
    state["grid"] = {{grid_.size()}, {grid_.begin(), grid_.end()}, Storage::i8};
    return state;
  }

  Result<> load(const State& state, size_t width) override {
    KVS_TRY(check_some_columns(width));
    KVS_ASSIGN(CellPredictor loaded, CellPredictor::load(state, width));
    KVS_ASSIGN(const StateArray* grid, find_array(state, "grid", {2 * loaded.pairs()}));
    for (size_t r = 0; r < grid->values.size(); ++r) {
      const float v = grid->values[r];
      const int least = least_grid(loaded, r / 2);
      if (v >= float(least) && v <= kLargestGrid && v == std::floor(v)) continue;
      return Error{
          ErrorKind::format,
          fmt::format("array 'grid' holds {}; legal: integers {} ... {}", v, least, kLargestGrid)};
    }
    grid_.assign(grid->values.begin(), grid->values.end());
    predictor_ = std::move(loaded);
    width_ = width;
    return {};
  }

 private:
  // body(first, n) until it returns false.
  static void for_tiles(size_t rows, const auto& body) {
    for (size_t first = 0; first < rows; first += kTile) {
      if (!body(first, std::min(kTile, rows - first))) return;
    }
  }

  // From predictions to places on the grid.
  int shift(size_t pair, size_t which) const {
    return grid_[2 * pair + which] + predictor_->exponent(pair) + kExtraBits;
  }

  Result<> check_inputs(const Inputs& read) const {
    size_t pairs = 0;
    for (const Side& side : read.sides) pairs += side.columns.pairs.size();
    if (pairs == predictor_->input_pairs()) return {};
    return Error{ErrorKind::format,
                 fmt::format("the predictor reads {} pairs of columns, {} are there",
                             predictor_->input_pairs(), pairs)};
  }

  Params params_;
  std::optional<CellPredictor> predictor_;
  std::vector<int8_t> grid_;  // per coded column
  size_t width_ = 0;
};

StageInfo::Traits traits(const KeyValues& pairs) {
  StageInfo::Traits t;
  t.cells = true;
  t.whole_block = true;
  if (const auto params = parse_params<Params>("exact", pairs); params.ok()) {
    t.history = params->history;
  }
  return t;
}

}  // namespace

namespace exact {

Inputs inputs_of(const Params& params, const CodeContext& context) {
  const size_t most =
      params.history == 0 ? 0 : 2 * size_t(params.history) + (context.unit.kind == Kind::value);
  Inputs all;
  for (size_t i = 0; i < std::min(most, context.history.size()); ++i) {
    const Reconstruction& made = context.history[i];
    const LayerShape& layer = context.shape->layers[made.layer];
    if (layer.width(made.kind) == 0) continue;
    const std::vector<int> dims(layer.kv_heads, layer.heads_dim(made.kind));
    all.sides.push_back({Columns(dims, made.kind == Kind::key ? layer.rope : Rope{}), made.rows});
    all.names.push_back(fmt::format("{}{}", name(made.kind), made.layer));
  }
  return all;
}

Result<> check_cells(const Matrix<float>& values) {
  KVS_TRY(check_finite(values));
  for (size_t i = 0; i < values.size(); ++i) {
    if ((to_half(values.flat()[i]) & 0x7fff) < 0x7c00) continue;
    return Error{ErrorKind::numeric,
                 fmt::format("value {} at row {}, column {} is beyond half precision",
                             values.flat()[i], i / values.cols(), i % values.cols())};
  }
  return {};
}

Result<> check_positions(const Inputs& inputs, const Columns& own, size_t count,
                         const CodeContext& context) {
  const bool turns =
      own.turn() || std::any_of(inputs.sides.begin(), inputs.sides.end(),
                                [](const Side& side) { return side.columns.turn(); });
  if (!turns || context.positions.size() == count) return {};
  return Error{ErrorKind::usage,
               fmt::format("{} positions for {} rows of keys", context.positions.size(), count)};
}

int least_grid(const CellPredictor& predictor, size_t pair) {
  return std::max(kLeastGrid, -predictor.exponent(pair) - kExtraBits);
}

}  // namespace exact

StageInfo exact_stage() {
  StageInfo info;
  info.name = "exact";
  info.group = "quantise";
  info.summary = "Cells as the cache holds them, to the bit, by where integers expect them.";
  info.params = describe<Params>();
  info.make = stage_maker<Exact, Params>("exact");
  info.traits = traits;
  return info;
}

}  // namespace kvsplice::codec
