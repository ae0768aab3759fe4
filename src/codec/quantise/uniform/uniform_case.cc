#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase uniform_case() {
  StageCase c;
  c.stage = "uniform";
  c.variants = {
      {"uniform", {0.01, 0.5}, 4.5, 4.6},
      {"uniform(bits=8)", {0.001, 0.5}, 8.5, 8.6},
      {"uniform(bits=2,block=8)", {0.01, 0.9}, 4, 4.1},
      {"uniform(bits=3,block=1024)", {0.01, 0.9}, 3.2, 3.4},
  };
  return c;
}

}  // namespace kvsplice::codec
