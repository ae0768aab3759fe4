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
  KVS_ASSIGN(const StateBlob blob, parse_state(state, hints_of(shape)));
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
  // The first layer's keys and values follow from token and position alone, so few tokens do, and
  // the evaluation ends behind that layer.
  constexpr size_t kTokens = 16;
  const size_t n = std::min(kTokens, cells.count());
  if (n == 0 || cells.first > 0) return 0.0;
  if (model.shape().layers.front().window > 0 && cells.absent > 0) return 0.0;
  double error = 0, power = 0;
  host::ContextOptions options;
  options.n_ctx = static_cast<int>(n);
  options.threads = 1;
  options.signals = {host::Signal::key, host::Signal::value};
  options.capture = [&](const host::Capture& made) -> Result<> {
    if (made.layer > 0) return Error{ErrorKind::interrupted, "enough was seen"};
    const Kind kind = made.signal == host::Signal::key ? Kind::key : Kind::value;
    for (size_t r = 0; r < made.rows.rows; ++r) {
      for (size_t c = 0; c < made.rows.cols; ++c) {
        const double wanted = made.rows(r, c);
        error += std::pow(from_half(cells.of(kind)[0](made.first + r, c)) - wanted, 2);
        power += wanted * wanted;
      }
    }
    return {};
  };
  KVS_ASSIGN(host::Context context, host::Context::create(model, options));
  const auto done = context.decode(std::span(cells.tokens).first(n));
  if (!done.ok() && done.error().kind != ErrorKind::interrupted) return done.error();
  return power > 0 ? std::sqrt(error / power) : 0.0;
}

}  // namespace kvsplice::session
