#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase recall_case() {
  StageCase c;
  c.stage = "recall";
  c.variants = {
      {"recall", {0.07, 0.1}, 4, 4.6},
      {"klt | recall(delta=0.6,group=64)", {0.055, 0.085}, 2.0, 2.5},
  };
  return c;
}

}  // namespace kvsplice::codec
