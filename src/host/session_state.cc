#include "host/session_state.h"

#include <numeric>

#include "core/memory.h"

namespace kvsplice::host {

namespace {

Result<> check_finite(const KvPlace& place, std::span<const int32_t> tokens,
                      const ModelShape& shape) {
  std::vector<int32_t> positions(place.count);
  std::iota(positions.begin(), positions.end(), 0);
  KvView view;
  view.tokens = tokens.first(place.count);
  view.positions = positions;
  view.space = Space::cached;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const RowsPlace& to : place.of(kind)) {
      view.of(kind).emplace_back(to.data, to.rows, to.cols, to.row_stride, to.col_stride,
                                 Element::f16);
    }
  }
  return session::check_finite(view, shape);
}

}  // namespace

Result<SessionState> to_state(const session::Session& session, size_t n,
                              std::span<const int32_t> pending, const ModelShape& shape,
                              const StateTarget& target, bool finite, const Progress& progress) {
  return within_memory([&]() -> Result<SessionState> {
    KVS_ASSIGN(auto outline, session.outline(0, n));
    std::optional<session::RecurrentState> recurrent;
    if (shape.hybrid()) {
      const size_t cells = extent_of_state(target.form, n, pending.size()).cells;
      KVS_ASSIGN(recurrent, session.state_at(cells));
      if (finite) KVS_TRY(session::check_finite(*recurrent));
    }
    KVS_ASSIGN(StateFrame frame, StateFrame::make(outline.tokens, outline.absent, pending, shape,
                                                  target, {}, recurrent ? &*recurrent : nullptr));
    if (const auto place = frame.place()) {
      KVS_TRY(session.read(0, frame.cells(), *place, progress));
      if (finite) KVS_TRY(check_finite(*place, outline.tokens, shape));
    } else {
      KVS_ASSIGN(const auto cells, session.read(0, frame.cells(), progress));
      const bool coded = is_quantised(target.key_type) || is_quantised(target.value_type);
      if (finite || coded) KVS_TRY(session::check_finite(cells, shape));
      frame.fill(cells);
    }
    return SessionState{frame.take(), std::move(outline.tokens)};
  });
}

}  // namespace kvsplice::host
