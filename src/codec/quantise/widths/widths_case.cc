#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase widths_case() {
  StageCase c;
  c.stage = "widths";
  c.variants = {
      {"widths(delta=0.1)", {0.0136, 0.0151}, 5.5, 6.01},
      {"widths(delta=0.4,most=2)", {0.126, 0.140}, 1.9, 2.01},
      {"klt | widths", {0.0588, 0.065}, 1.43, 1.58},
      {"klt | widths(grades=3,spread=4)", {0.0588, 0.065}, 1.43, 1.58},
  };
  return c;
}

}  // namespace kvsplice::codec
