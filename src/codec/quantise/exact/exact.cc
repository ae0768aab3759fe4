// Cells of a cache to the bit: each is told by its place on a grid about where a prediction in
// integers expects it, and by the bits below the grid.
#include <fmt/format.h>

#include <cmath>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "codec/quantise/exact/cell_code.h"
#include "codec/quantise/exact/predictor.h"
#include "core/half.h"
#include "core/threads.h"

namespace kvsplice::codec {

namespace {

using namespace exact;

struct Params {
  int history = 1;
  double ridge = 1e-4;

  template <class V>
  void visit(V&& v) {
    v("history", history, "layers below whose keys and values are read", Range{0, 16});
    v("ridge", ridge, "added to the variances of what is read, relative to them", Range{1e-9, 1});
  }
};

class Exact : public Stage {
 public:
  explicit Exact(const Params& params) : params_(params) {}

  Result<> fit(const Rows& rows, const Context& context) override {
    KVS_TRY(check_some_columns(rows.values.cols()));
    if (rows.values.rows() == 0) return Error{ErrorKind::numeric, "no rows to learn from"};
    KVS_TRY(check_cells(rows.values));
    layers::SharedProducts own_memory;
    std::vector<std::string> names;
    const std::vector<Side> read = inputs(context, &names);
    const Side target{Columns(context.unit), rows.values};
    KVS_TRY(check_positions(read, target.columns, rows.values.rows(), context));
    KVS_ASSIGN(predictor_, Predictor::fit(read, names, target, context.positions, params_.ridge,
                                          shared(context, own_memory)));
    width_ = rows.values.cols();
    choose_grid(read, target, context.positions);
    return {};
  }

  Result<> encode(Rows& rows, const Context& context, ByteWriter& side) const override {
    KVS_TRY(check_fitted(rows, width_));
    KVS_TRY(check_cells(rows.values));
    const std::vector<Side> read = inputs(context, nullptr);
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
      predictor_->for_pairs(predictor_->input_tile(read, first, n, context.positions), columns,
                            turns, own, [&](size_t p, const Expected& expected) {
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
    if (context.predictions != nullptr) {
      Matrix<float>& cells = (*context.predictions)[this] = std::move(rows.values);
      for (float& x : cells.flat()) x = from_half(to_half(x));
    }
    rows.values = {};
    rows.quantised = true;
    rows.code_bits = 0;
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const Context& context,
                  ByteReader& side) const override {
    KVS_TRY(check_codes(rows, count, width_));
    if (context.predictions != nullptr) {
      if (const auto known = context.predictions->find(this); known != context.predictions->end()) {
        rows = {std::move(known->second), {}, false, 0};
        KVS_TRY(side.take(side.left()));
        return {};
      }
    }
    const std::vector<Side> read = inputs(context, nullptr);
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
      predictor_->for_pairs(predictor_->input_tile(read, first, n, context.positions), columns,
                            turns, own, [&](size_t p, const Expected& expected) {
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
    KVS_ASSIGN(Predictor loaded, Predictor::load(state, width));
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

  // body(which of the pair, column, token), in the order the bits are stored in.
  static void for_cells(const Columns& columns, size_t pair, size_t n, const auto& body) {
    for (size_t t = 0; t < n; ++t) {
      body(size_t{0}, columns.pairs[pair].first, t);
      if (columns.pairs[pair].second != kNone) body(size_t{1}, columns.pairs[pair].second, t);
    }
  }

  // A quarter of what predictions miss by, as a power of two: coarse enough for the entropy coder's
  // tables, fine enough for the cells of a bucket to be about equally likely.
  void choose_grid(const std::vector<Side>& read, const Side& target,
                   std::span<const int32_t> positions) {
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
      to_tile(columns, cells, predictor_->exponents(), turns, own.data());
      predictor_->for_pairs(predictor_->input_tile(read, first, n, positions), columns, turns, own,
                            [&](size_t p, const Expected& expected) {
                              for_cells(columns, p, n, [&](size_t which, size_t c, size_t t) {
                                const int unit = predictor_->exponent(p) + kExtraBits;
                                missed[i][2 * p + which] += std::abs(
                                    cells(t, c) - std::ldexp(double(expected[which][t]), -unit));
                              });
                            });
    });
    grid_.assign(columns.width(), 0);
    for (size_t r = 0; r < grid_.size(); ++r) {
      double sum = 0, count = 0;
      for (size_t i = 0; i < used; ++i) {
        sum += missed[i][r];
        count += double(rows[i]);
      }
      constexpr double kDeviation = 1.25;  // standard over mean absolute
      const double wanted = std::round(std::log2(kDeviation * sum / count + 1e-30)) - 2;
      grid_[r] = static_cast<int8_t>(
          std::clamp<double>(wanted, least_grid(*predictor_, r / 2), kLargestGrid));
    }
  }

  // Places on the grid are found by shifting predictions to the right.
  static int least_grid(const Predictor& predictor, size_t pair) {
    return std::max(kLeastGrid, -predictor.exponent(pair) - kExtraBits);
  }

  // From predictions to places on the grid.
  int shift(size_t pair, size_t which) const {
    return grid_[2 * pair + which] + predictor_->exponent(pair) + kExtraBits;
  }

  static layers::SharedProducts& shared(const Context& context, layers::SharedProducts& own) {
    if (context.memory == nullptr) return own;
    auto& slot = (*context.memory)["exact"];
    if (!slot) slot = std::make_shared<layers::SharedProducts>();
    return *static_cast<layers::SharedProducts*>(slot.get());
  }

  std::vector<Side> inputs(const Context& context, std::vector<std::string>* names) const {
    const size_t most =
        params_.history == 0 ? 0 : 2 * size_t(params_.history) + (context.unit.kind == Kind::value);
    std::vector<Side> all;
    for (size_t i = 0; i < std::min(most, context.history.size()); ++i) {
      const Reconstruction& made = context.history[i];
      const LayerShape& layer = context.shape->layers[made.layer];
      const std::vector<int> dims(layer.kv_heads, layer.heads_dim(made.kind));
      all.push_back({Columns(dims, made.kind == Kind::key ? layer.rope : Rope{}), made.rows});
      if (names != nullptr) names->push_back(fmt::format("{}{}", name(made.kind), made.layer));
    }
    return all;
  }

  static Result<> check_cells(const Matrix<float>& values) {
    KVS_TRY(check_finite(values));
    for (size_t i = 0; i < values.size(); ++i) {
      if ((to_half(values.flat()[i]) & 0x7fff) < 0x7c00) continue;
      return Error{ErrorKind::numeric,
                   fmt::format("value {} at row {}, column {} is beyond half precision",
                               values.flat()[i], i / values.cols(), i % values.cols())};
    }
    return {};
  }

  static Result<> check_positions(const std::vector<Side>& read, const Columns& own, size_t count,
                                  const Context& context) {
    const bool turns = own.turn() || std::any_of(read.begin(), read.end(), [](const Side& side) {
                         return side.columns.turn();
                       });
    if (!turns || context.positions.size() == count) return {};
    return Error{ErrorKind::usage,
                 fmt::format("{} positions for {} rows of keys", context.positions.size(), count)};
  }

  Result<> check_inputs(const std::vector<Side>& read) const {
    size_t pairs = 0;
    for (const Side& side : read) pairs += side.columns.pairs.size();
    if (pairs == predictor_->input_pairs()) return {};
    return Error{ErrorKind::format,
                 fmt::format("the predictor reads {} pairs of columns, {} are there",
                             predictor_->input_pairs(), pairs)};
  }

  Params params_;
  std::optional<Predictor> predictor_;
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
