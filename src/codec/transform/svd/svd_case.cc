#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase svd_case() {
  StageCase c;
  c.stage = "svd";
  c.variants = {
      {"svd(ratio=2)", {0.128, 0.142}, 7.746, 8.063},
      {"svd(ratio=8)", {0.349, 0.387}, 1.108, 1.154},
      {"svd(rank=32)", {1e-8, 1e-5}, 35.405, 36.851},
  };
  c.idempotent = false;  // the factors of rounded rows are rounded again
  c.learns = false;
  return c;
}

}  // namespace kvsplice::codec
