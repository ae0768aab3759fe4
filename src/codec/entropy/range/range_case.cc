#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase range_case() {
  StageCase c;
  c.stage = "range";
  c.variants = {
      {"step(delta=0.6) | range", {0.0662, 0.0733}, 2.746, 2.859},
      {"step(delta=0.01) | range", {0.0011, 0.00122}, 8.547, 8.897},
      {"klt | step(delta=0.3) | range", {0.0299, 0.0331}, 2.094, 2.18},
      {"klt | step(delta=4) | range", {0.246, 0.273}, 0.1815, 0.189},
      {"uniform(bits=4) | range", {0.122, 0.136}, 2.48, 2.582},
  };
  // The quantiser's own rounding of halves; see its case.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
