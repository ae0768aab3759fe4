#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase lloydmax_case() {
  StageCase c;
  c.stage = "lloydmax";
  c.variants = {
      {"lloydmax", {0.038, 0.057}, 4, 4.01},
      {"lloydmax(bits=1)", {0.23, 0.34}, 1, 1.01},
      {"lloydmax(bits=8)", {0.007, 0.0125}, 8, 8.01},
      {"klt | lloydmax(bits=3)", {0.07, 0.107}, 3, 3.01},
  };
  return c;
}

}  // namespace kvsplice::codec
