#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase lloydmax_case() {
  StageCase c;
  c.stage = "lloydmax";
  c.variants = {
      {"lloydmax", {0.01, 0.5}, 4, 4.1},
      {"lloydmax(bits=1)", {0.01, 0.9}, 1, 1.1},
      {"lloydmax(bits=8)", {0.001, 0.5}, 8, 8.1},
      {"klt | lloydmax(bits=3)", {0.01, 0.5}, 3, 3.1},
  };
  return c;
}

}  // namespace kvsplice::codec
