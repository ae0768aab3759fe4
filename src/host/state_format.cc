#include "host/state_format.h"

#include <llama.h>

#include <algorithm>

namespace kvsplice::host {

namespace {

static_assert(kSessionMagic == LLAMA_SESSION_MAGIC && kSequenceMagic == LLAMA_STATE_SEQ_MAGIC,
              "llama.cpp marks its states otherwise");
static_assert(GGML_TYPE_F32 == 0 && GGML_TYPE_F16 == 1 && GGML_TYPE_Q8_0 == 8,
              "host/cell_rows.h has other numbers of types");

constexpr StateVersion kLinked = {LLAMA_SESSION_VERSION, LLAMA_STATE_SEQ_VERSION};

constexpr bool is_handled(const StateVersion& version) {
  for (const StateVersion& known : kStateVersions) {
    if (version == known) return true;
  }
  return false;
}
static_assert(is_handled(kLinked),
              "this llama.cpp saves states of a version that KVSplice does not know: see what has "
              "changed in llama_kv_cache::state_write and add it to kStateVersions");

// 64 for values, the largest power of two that divides a head for keys (llama_kv_cache's
// constructor). It looks at the first layer of the model, too, even if another cache holds it.
uint32_t usual_side(const ModelShape& shape, Kind kind, bool windows) {
  int dim = 0;
  for (const LayerShape& layer : shape.layers) {
    if (layer.value_dim == 0) return 0;  // values are among the keys
    if ((layer.window > 0) != windows) continue;
    if (dim != 0 && dim != layer.heads_dim(kind)) return 0;  // one matrix for all of a cache
    dim = layer.heads_dim(kind);
  }
  if (dim == 0 || dim % 64 != 0 || shape.layers.front().heads_dim(kind) % 64 != 0) return 0;
  uint32_t side = 64;
  while (kind == Kind::key && dim % (2 * side) == 0) side *= 2;
  return side;
}

}  // namespace

StateVersion linked_state_version() { return kLinked; }

std::vector<Turns> usual_turns(const ModelShape& shape) {
  const auto of_cache = [&](bool windows) {
    return Turns{usual_side(shape, Kind::key, windows), usual_side(shape, Kind::value, windows)};
  };
  const Turns whole = of_cache(false), sliding = of_cache(true);
  std::vector<Turns> turns;
  for (const LayerShape& layer : shape.layers) turns.push_back(layer.window > 0 ? sliding : whole);
  return turns;
}

}  // namespace kvsplice::host
