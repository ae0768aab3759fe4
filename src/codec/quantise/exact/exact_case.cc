#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase exact_case() {
  StageCase c;
  c.stage = "exact";
  // Values that are no f16 are rounded to it.
  c.variants = {
      {"exact", {0.000176, 0.00024}, 11.056, 11.508},
      {"exact(history=0) | range", {0.000176, 0.00024}, 10.25, 10.67},
      {"exact(history=2,ridge=0.01) | range", {0.000176, 0.00024}, 10.489, 10.918},
  };
  // Keys are turned to cells and back in float.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
