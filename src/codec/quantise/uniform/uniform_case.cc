#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase uniform_case() {
  StageCase c;
  c.stage = "uniform";
  c.variants = {
      {"uniform", {0.122, 0.136}, 4.5, 4.523},
      {"uniform(bits=8)", {0.00675, 0.00747}, 8.5, 8.523},
      {"uniform(bits=2,block=8)", {0.467, 0.517}, 4, 4.023},
      {"uniform(bits=3,block=1024)", {0.308, 0.342}, 3.25, 3.273},
  };
  c.learns = false;
  return c;
}

}  // namespace kvsplice::codec
