#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase svd_case() {
  StageCase c;
  c.stage = "svd";
  c.variants = {
      {"svd(ratio=2)", {0.14, 0.22}, 7.85, 8},
      {"svd(ratio=8)", {0.36, 0.55}, 1.1, 1.2},
      {"svd(rank=32)", {1e-8, 1e-5}, 36.1, 36.2},
  };
  c.idempotent = false;  // the factors of rounded rows are rounded again
  return c;
}

}  // namespace kvsplice::codec
