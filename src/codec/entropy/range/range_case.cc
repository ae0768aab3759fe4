#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase range_case() {
  StageCase c;
  c.stage = "range";
  c.variants = {
      {"step(delta=0.6) | range", {0.05, 0.4}, 1, 3.2},
      {"step(delta=0.01) | range", {1e-4, 0.01}, 5, 9},
      {"klt | step(delta=0.3) | range", {0.02, 0.2}, 0.5, 3},
      {"klt | step(delta=4) | range", {0.3, 1.1}, 0, 0.4},
      {"uniform(bits=4) | range", {0.01, 0.5}, 2, 4.6},
  };
  // The quantiser's own rounding of halves; see its case.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
