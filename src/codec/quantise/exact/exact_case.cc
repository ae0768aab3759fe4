#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase exact_case() {
  StageCase c;
  c.stage = "exact";
  // Values that are no f16 are rounded to it.
  c.variants = {
      {"exact", {1.5e-4, 2.6e-4}, 11, 12.4},
      {"exact(history=0) | range", {1.5e-4, 2.6e-4}, 10, 11},
      {"exact(history=2,ridge=0.01) | range", {1.5e-4, 2.6e-4}, 10.3, 11.4},
  };
  // Keys are turned to cells and back in float.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
