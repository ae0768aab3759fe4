#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase rotate_case() {
  StageCase c;
  c.stage = "rotate";
  c.variants = {
      {"k: rotate ; v: f16", {1e-5, 1e-3}, 16, 16.3},
      {"k: rotate | klt(rank=16) ; v: f16", {0.01, 0.9}, 10, 14},
  };
  c.idempotent = false;  // the angle's sine and cosine are floats, so turning back rounds
  return c;
}

}  // namespace kvsplice::codec
