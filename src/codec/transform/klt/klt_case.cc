#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase klt_case() {
  StageCase c;
  c.stage = "klt";
  c.variants = {
      {"klt", {6.8e-05, 9.2e-05}, 16, 16.022},
      {"pca(rank=8)", {0.198, 0.22}, 2, 2.022},
      {"klt(scope=head)", {6.71e-05, 9.09e-05}, 16, 16.022},
      {"klt(scope=head,rank=5) | f16", {0.175, 0.194}, 2.5, 2.523},
      {"klt(scope=head,heads=2)", {6.71e-05, 9.09e-05}, 16, 16.022},
      {"klt(scope=model,rank=24)", {0.191, 0.212}, 2, 2.021},
      {"klt | step(delta=0.3)", {0.0299, 0.0331}, 2.83, 2.946},
      {"klt(stored=packed)", {6.71e-05, 9.09e-05}, 16, 16.022},
      {"klt(stored=packed) | step(delta=0.3)", {0.03, 0.0333}, 2.832, 2.949},
  };
  // Values left as f16 are rounded again after the basis has been applied twice.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
