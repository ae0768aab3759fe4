#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase f16_case() {
  StageCase c;
  c.stage = "f16";
  c.variants = {
      {"f16", {1.5e-4, 2.6e-4}, 16, 16.1},
  };
  return c;
}

}  // namespace kvsplice::codec
