#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase widths_case() {
  StageCase c;
  c.stage = "widths";
  c.variants = {
      {"widths(delta=0.1)", {0.0165, 0.0182}, 5.11, 5.65},
      {"widths(delta=0.4,most=2)", {0.126, 0.140}, 1.9, 2.01},
      {"klt | widths", {0.0751, 0.0831}, 1.16, 1.28},
  };
  return c;
}

}  // namespace kvsplice::codec
