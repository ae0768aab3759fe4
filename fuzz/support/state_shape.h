// What the states of the driver `state` are of: a layer of 32 values, one with a window, and one
// that is recurrent.
#pragma once

#include "core/shape.h"
#include "session/recurrent.h"

namespace kvsplice::fuzz {

inline ModelShape state_shape(bool window, bool hybrid = false) {
  ModelShape shape;
  shape.architecture = "llama";
  LayerShape layer;
  layer.kv_heads = 1;
  layer.key_dim = layer.value_dim = 32;
  shape.layers.push_back(layer);
  layer.layer = 1;
  layer.window = 3;
  if (window) shape.layers.push_back(layer);
  if (hybrid) shape.recurrent = {{2, 3, 5}, {4, 3, 5}};
  return shape;
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
