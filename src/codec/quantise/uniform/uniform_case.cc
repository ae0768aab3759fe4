#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase uniform_case() {
  StageCase c;
  c.stage = "uniform";
  c.variants = {
      {"uniform", {0.08, 0.12}, 4.5, 4.51},
      {"uniform(bits=8)", {0.0042, 0.0065}, 8.5, 8.51},
      {"uniform(bits=2,block=8)", {0.4, 0.6}, 4, 4.01},
      {"uniform(bits=3,block=1024)", {0.2, 0.3}, 3.25, 3.26},
  };
  return c;
}

}  // namespace kvsplice::codec
