// What the states of the driver `state` are of: a layer of 32 values, the same with another that
// has a window, both with recurrent layers, the first with cells that say places, and without
// values.
#pragma once

#include <vector>

#include "core/shape.h"
#include "session/recurrent.h"

namespace kvsplice::fuzz {

inline const std::vector<RecurrentLayer>& recurrent_layers() {
  static const std::vector<RecurrentLayer> layers = {{2, 3, 5}, {4, 3, 5}};
  return layers;
}

inline std::vector<ModelShape> state_shapes() {
  ModelShape shape;
  shape.architecture = "llama";
  LayerShape layer;
  layer.kv_heads = 1;
  layer.key_dim = layer.value_dim = 32;
  shape.layers.push_back(layer);
  ModelShape windows = shape, places = shape, latent = shape;
  layer.layer = 1;
  layer.window = 3;
  windows.layers.push_back(layer);
  places.places = true;
  latent.layers[0].value_dim = 0;
  ModelShape hybrid = shape, sliding_hybrid = windows;
  hybrid.recurrent = sliding_hybrid.recurrent = recurrent_layers();
  return {shape, windows, hybrid, sliding_hybrid, places, latent};
}

// As such a model may have it behind so many tokens.
inline session::RecurrentState some_state(const ModelShape& shape, size_t position) {
  session::RecurrentState state;
  state.position = position;
  state.model_layers = 5;
  for (const auto part : {session::StatePart::r, session::StatePart::s}) {
    for (const RecurrentLayer& layer : shape.recurrent) {
      const size_t values = part == session::StatePart::r ? layer.r : layer.s;
      state.rows.push_back({layer.layer, part, 0, Bytes(4 * values, uint8_t(position))});
    }
  }
  return state;
}

}  // namespace kvsplice::fuzz
