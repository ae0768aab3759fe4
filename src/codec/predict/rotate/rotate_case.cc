#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase rotate_case() {
  StageCase c;
  c.stage = "rotate";
  c.variants = {
      {"k: rotate ; v: f16", {1.5e-4, 2.6e-4}, 16, 16.1},
      {"k: rotate | klt(rank=16) ; v: f16", {0.24, 0.38}, 10, 10.1},
  };
  c.idempotent = false;  // the angle's sine and cosine are floats, so turning back rounds
  return c;
}

}  // namespace kvsplice::codec
