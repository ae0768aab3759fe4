#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase step_case() {
  StageCase c;
  c.stage = "step";
  c.variants = {
      {"step", {0.0662, 0.0733}, 4.179, 4.351},
      {"step(delta=0.1,offset=0.5)", {0.0104, 0.0116}, 6.741, 7.018},
      {"step(delta=0.1,of=rows)", {0.011, 0.0123}, 6.741, 7.018},
      {"klt | step(delta=0.6)", {0.0556, 0.0616}, 2.021, 2.104},
      {"klt | step(delta=0.6,recall=256) | range", {0.0555, 0.0614}, 1.243, 1.295},
  };
  c.optional_arrays = {"weights"};  // it recalls only where that pays
  return c;
}

}  // namespace kvsplice::codec
