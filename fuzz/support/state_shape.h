// What the states of the driver `state` are of: a layer of 32 values, the same with another that
// has a window, the first with cells that say places, and without values.
#pragma once

#include <vector>

#include "core/shape.h"

namespace kvsplice::fuzz {

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
  return {shape, windows, places, latent};
}

}  // namespace kvsplice::fuzz
