#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase rotate_case() {
  StageCase c;
  c.stage = "rotate";
  c.variants = {
      {"k: rotate ; v: f16", {0.000176, 0.00024}, 16, 16.023},
      {"k: rotate | klt(rank=16) ; v: f16", {0.237, 0.263}, 10, 10.023},
  };
  c.idempotent = false;  // the angle's sine and cosine are floats, so turning back rounds
  c.learns = false;
  return c;
}

}  // namespace kvsplice::codec
