#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase klt_case() {
  StageCase c;
  c.stage = "klt";
  c.variants = {
      {"klt", {1e-5, 1e-3}, 16, 16.3},
      {"pca(rank=8)", {0.01, 0.9}, 2, 2.3},
      {"klt(scope=head)", {1e-5, 1e-3}, 16, 16.3},
      {"klt(scope=head,rank=5) | f16", {0.01, 0.9}, 2, 3},
      {"klt(scope=model,rank=24)", {0.01, 0.9}, 2, 3},
      {"klt | step(delta=0.3)", {0.01, 0.5}, 1, 8},
  };
  // Values left as f16 are rounded again after the basis has been applied twice.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
