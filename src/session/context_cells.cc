#include "session/context_cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/half.h"
#include "session/state_rows.h"
#include "session/state_target.h"

namespace kvsplice::session {

namespace {

Result<CellType> type_of(host::CacheType type) {
  switch (type) {
    case host::CacheType::f32:
      return CellType::f32;
    case host::CacheType::f16:
      return CellType::f16;
    case host::CacheType::q8_0:
      return CellType::q8_0;
    default:
      return Error{ErrorKind::usage,
                   fmt::format("cells of a cache of type {}; legal: f32, f16, q8_0",
                               host::cache_type_names()[static_cast<size_t>(type)])};
  }
}

}  // namespace

Result<Cells> cells_of(const host::Context& context, const ModelShape& shape,
                       std::span<const int32_t> tokens) {
  KVS_ASSIGN(const Bytes state, context.save_state());
  KVS_ASSIGN(const StateBlob blob, parse_state(state, {.caches = caches_of(shape)}));
  KVS_ASSIGN(StateCells made, to_cells(blob, shape, tokens, context.turns()));
  return std::move(made.cells);
}

Result<> restore_cells(const Cells& cells, const ModelShape& shape, host::Context& context) {
  StateTarget target;
  target.form = StateForm::sequence_data;
  KVS_ASSIGN(target.key_type, type_of(context.cache_type()));
  target.value_type = target.key_type;
  target.turns.assign(context.turns().begin(), context.turns().end());
  KVS_ASSIGN(const Bytes state, to_state(cells, {}, shape, target));
  return context.load_state(state);
}

Result<double> distance_from_model(const Cells& cells, const host::Model& model) {
  // The first layer's keys and values follow from token and position alone, so few tokens do.
  constexpr size_t kTokens = 16;
  const size_t n = std::min(kTokens, cells.count());
  const LayerShape& layer = model.shape().layers.front();
  if (n == 0 || cells.first > 0 || (layer.window > 0 && cells.absent > 0)) return 0.0;
  host::ContextOptions options;
  options.n_ctx = static_cast<int>(n);
  KVS_ASSIGN(host::Context context, host::Context::create(model, options));
  KVS_TRY(context.decode(std::span(cells.tokens).first(n)));
  double error = 0, power = 0;
  for (Kind kind : {Kind::key, Kind::value}) {
    Matrix<float> rows(n, static_cast<size_t>(layer.width(kind)));
    KVS_TRY(context.read_cache(kind, 0, 0, rows));
    for (size_t i = 0; i < rows.size(); ++i) {
      const double wanted = rows.flat()[i], met = from_half(cells.of(kind)[0].flat()[i]);
      error += (met - wanted) * (met - wanted);
      power += wanted * wanted;
    }
  }
  return power > 0 ? std::sqrt(error / power) : 0.0;
}

}  // namespace kvsplice::session
