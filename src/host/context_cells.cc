#include "host/context_cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "host/session_state.h"
#include "host/state_target.h"

namespace kvsplice::host {

namespace {

Result<CellType> type_of(CacheType type) {
  switch (type) {
    case CacheType::f32:
      return CellType::f32;
    case CacheType::f16:
      return CellType::f16;
    case CacheType::q8_0:
      return CellType::q8_0;
    default:
      return Error{ErrorKind::usage,
                   fmt::format("cells of a cache of type {}; legal: f32, f16, q8_0",
                               cache_type_names()[static_cast<size_t>(type)])};
  }
}

// What loads a state into the context.
Result<StateTarget> target_of(const Context& context) {
  StateTarget target;
  target.form = StateForm::sequence_data;
  KVS_ASSIGN(target.key_type, type_of(context.cache_type()));
  target.value_type = target.key_type;
  target.turns.assign(context.turns().begin(), context.turns().end());
  return target;
}

}  // namespace

Result<StateCells> cells_of(const Context& context, const ModelShape& shape,
                            std::span<const int32_t> tokens) {
  KVS_ASSIGN(Bytes state, context.save_state());
  KVS_ASSIGN(const StateBlob blob, parse_state(state, hints_of(shape)));
  if (blob.bytes_behind > 0) {
    return Error{ErrorKind::unsupported,
                 fmt::format("the model keeps {} bytes beside its caches that are not understood",
                             blob.bytes_behind)};
  }
  KVS_ASSIGN(StateCells made, to_cells(blob, shape, tokens, context.turns()));
  made.state = std::move(state);
  return made;
}

Result<> restore_cells(const KvView& cells, const ModelShape& shape, Context& context,
                       const session::RecurrentState* recurrent) {
  KVS_ASSIGN(const StateTarget target, target_of(context));
  KVS_ASSIGN(const Bytes state, to_state(cells, {}, shape, target, recurrent));
  return context.load_state(state);
}

Result<std::vector<int32_t>> restore_session(const session::Session& session,
                                             const ModelShape& shape, Context& context,
                                             const Progress& progress) {
  KVS_ASSIGN(const StateTarget target, target_of(context));
  KVS_ASSIGN(SessionState state,
             to_state(session, session.size(), {}, shape, target, true, progress));
  KVS_TRY(context.load_state(state.bytes));
  return std::move(state.tokens);
}

Result<double> distance_from_model(const KvView& cells, const Model& model) {
  // The first layer's keys and values follow from token and position alone, so few tokens do, and
  // the evaluation ends behind that layer.
  constexpr size_t kTokens = 16;
  const size_t n = std::min(kTokens, cells.count());
  if (n == 0 || session::first_position(cells) > 0) return 0.0;
  if (model.shape().layers.front().window > 0 && cells.absent > 0) return 0.0;
  double error = 0, power = 0;
  ContextOptions options;
  options.n_ctx = static_cast<int>(n);
  options.threads = 1;
  options.signals = {Signal::key, Signal::value};
  options.capture = [&](const Capture& made) -> Result<> {
    if (made.layer > 0) return Error{ErrorKind::interrupted, "enough was seen"};
    const Kind kind = made.signal == Signal::key ? Kind::key : Kind::value;
    Matrix<float> met(made.rows.rows, made.rows.cols);
    read_rows(cells.of(kind)[0].row_range(made.first, made.rows.rows), met);
    for (size_t r = 0; r < made.rows.rows; ++r) {
      for (size_t c = 0; c < made.rows.cols; ++c) {
        const double wanted = made.rows(r, c);
        error += std::pow(met(r, c) - wanted, 2);
        power += wanted * wanted;
      }
    }
    return {};
  };
  KVS_ASSIGN(Context context, Context::create(model, options));
  const auto done = context.decode(cells.tokens.first(n));
  if (!done.ok() && done.error().kind != ErrorKind::interrupted) return done.error();
  return power > 0 ? std::sqrt(error / power) : 0.0;
}

}  // namespace kvsplice::host
