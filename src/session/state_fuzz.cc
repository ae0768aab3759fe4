// Bytes that claim to be a state of llama.cpp.
#include "session/state_rows.h"

using namespace kvsplice;
using namespace kvsplice::session;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto blob = parse_state({data, size});
  if (!blob.ok()) return 0;
  ModelShape shape;
  shape.layers.resize(1);
  shape.layers[0].kv_heads = 1;
  shape.layers[0].key_dim = shape.layers[0].value_dim = 32;
  (void)to_cells(*blob, shape, blob->tokens).ok();
  shape.layers.push_back(shape.layers[0]);
  shape.layers[1].window = 3;
  (void)to_cells(*blob, shape, blob->tokens).ok();
  return 0;
}
