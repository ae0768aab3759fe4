// What the states of the driver `state` are of: a layer of 32 values, and one with a window.
#pragma once

#include "core/shape.h"

namespace kvsplice::fuzz {

inline ModelShape state_shape(bool window) {
  ModelShape shape;
  shape.architecture = "llama";
  LayerShape layer;
  layer.kv_heads = 1;
  layer.key_dim = layer.value_dim = 32;
  shape.layers.push_back(layer);
  layer.layer = 1;
  layer.window = 3;
  if (window) shape.layers.push_back(layer);
  return shape;
}

}  // namespace kvsplice::fuzz
