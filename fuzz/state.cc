// Bytes that claim to be a state of llama.cpp; cells that were read are written and read again.
#include "host/state_rows.h"
#include "host/state_target.h"
#include "support/driver.h"
#include "support/state_shape.h"

using namespace kvsplice;
using namespace kvsplice::host;

const double fuzz::least_accepted = 0.2;

namespace {

// Data of sequences come without tokens, but for those that cells say: the caller names them.
std::vector<int32_t> tokens_of(const StateBlob& blob) {
  if (!blob.tokens.empty() || blob.caches.empty()) return blob.tokens;
  const StateCache& cache = blob.caches[0];
  std::vector<int32_t> tokens(cache.cells(), 7);
  for (size_t i = 0; i < cache.tokens.size(); ++i) {
    const auto at = static_cast<size_t>(cache.positions[i]);
    if (at < tokens.size()) tokens[at] = cache.tokens[i];
  }
  return tokens;
}

void read_and_write(ByteSpan bytes, const ModelShape& shape) {
  const auto blob = parse_state(bytes, hints_of(shape));
  if (!blob.ok()) return;
  const auto read = to_cells(*blob, shape, tokens_of(*blob));
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
  static const std::vector<ModelShape> shapes = fuzz::state_shapes();
  for (const ModelShape& shape : shapes) read_and_write({data, size}, shape);
  (void)parse_state({data, size}).ok();
  return 0;
}
