#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase svd_case() {
  StageCase c;
  c.stage = "svd";
  c.variants = {
      {"svd(ratio=2)", {0.01, 0.9}, 6, 8.1},
      {"svd(ratio=8)", {0.01, 0.9}, 1, 2.1},
      {"svd(rank=32)", {1e-8, 1e-5}, 32, 40},
  };
  c.idempotent = false;  // the factors of rounded rows are rounded again
  return c;
}

}  // namespace kvsplice::codec
