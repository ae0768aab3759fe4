#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase klt_case() {
  StageCase c;
  c.stage = "klt";
  c.variants = {
      {"klt", {5e-5, 2e-4}, 16, 16.1},
      {"pca(rank=8)", {0.2, 0.3}, 2, 2.05},
      {"klt(scope=head)", {5e-5, 2e-4}, 16, 16.1},
      {"klt(scope=head,rank=5) | f16", {0.17, 0.27}, 2.5, 2.55},
      {"klt(scope=model,rank=24)", {0.2, 0.31}, 2, 2.05},
      {"klt | step(delta=0.3)", {0.03, 0.046}, 2.8, 3.3},
      {"klt(stored=packed)", {5e-5, 2e-4}, 16, 16.1},
      {"klt(stored=packed) | step(delta=0.3)", {0.03, 0.046}, 2.8, 3.35},
  };
  // Values left as f16 are rounded again after the basis has been applied twice.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
