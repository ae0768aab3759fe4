// Bytes that claim to be a state of llama.cpp; cells that were read are written and read again.
#include "host/state_rows.h"
#include "host/state_target.h"
#include "support/driver.h"
#include "support/state_shape.h"

using namespace kvsplice;
using namespace kvsplice::host;

const double fuzz::least_accepted = 0.2;

namespace {

void read_and_write(ByteSpan bytes, const ModelShape& shape) {
  const auto blob = parse_state(bytes, hints_of(shape));
  if (!blob.ok()) return;
  // Data of sequences come without tokens: the caller names them.
  const std::vector<int32_t> some(blob->caches.empty() ? 0 : blob->caches[0].cells(), 7);
  const auto read = to_cells(*blob, shape, blob->tokens.empty() ? some : blob->tokens);
  if (!read.ok()) return;
  fuzz::accept();
  StateTarget target;
  target.form = StateForm::sequence_data;
  const session::RecurrentState* recurrent = read->recurrent ? &*read->recurrent : nullptr;
  const auto written = to_state(read->cells, {}, shape, target, recurrent);
  if (!written.ok()) return;
  const auto again = parse_state(*written, hints_of(shape));
  fuzz::demand(again.ok());
  const auto back = to_cells(*again, shape, read->cells.tokens);
  fuzz::demand(back.ok());
  fuzz::demand(back->recurrent == read->recurrent);
  const auto first = convert<uint16_t>(read->cells, shape, Space::cached);
  const auto second = convert<uint16_t>(back->cells, shape, Space::cached);
  fuzz::demand(second.keys == first.keys && second.values == first.values);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  for (const bool window : {false, true}) {
    for (const bool hybrid : {false, true}) {
      read_and_write({data, size}, fuzz::state_shape(window, hybrid));
    }
  }
  (void)parse_state({data, size}).ok();
  return 0;
}
