#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase exact_case() {
  StageCase c;
  c.stage = "exact";
  // Values that are no f16 are rounded to it.
  c.variants = {
      {"exact", {1e-5, 3e-4}, 8, 16},
      {"exact(history=0) | range", {1e-5, 3e-4}, 8, 14},
      {"exact(history=2,ridge=0.01) | range", {1e-5, 3e-4}, 8, 14},
  };
  // Keys are turned to cells and back in float.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
