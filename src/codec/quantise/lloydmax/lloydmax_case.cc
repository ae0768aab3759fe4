#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase lloydmax_case() {
  StageCase c;
  c.stage = "lloydmax";
  c.variants = {
      {"lloydmax", {0.0367, 0.0407}, 4, 4.022},
      {"lloydmax(bits=1)", {0.221, 0.245}, 1, 1.022},
      {"lloydmax(bits=8)", {0.00821, 0.00908}, 8, 8.023},
      {"klt | lloydmax(bits=3)", {0.0705, 0.0781}, 3, 3.023},
  };
  return c;
}

}  // namespace kvsplice::codec
