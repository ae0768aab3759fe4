// A model's shape and a codec of it, for tests of coded cells.
#pragma once

#include "session/fitted_codec_test.h"

namespace kvsplice::store {

inline const ModelShape& shape() {
  static const ModelShape shape = session::small_shape();
  return shape;
}

inline const codec::Codec& codec() {
  static const codec::Codec codec = session::fitted(shape(), "klt | step(delta=0.2) | range");
  return codec;
}

}  // namespace kvsplice::store
