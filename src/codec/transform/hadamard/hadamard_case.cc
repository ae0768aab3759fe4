#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase hadamard_case() {
  StageCase c;
  c.stage = "hadamard";
  c.variants = {
      {"hadamard", {1.5e-4, 2.6e-4}, 16, 16.1},
      {"hadamard | uniform(bits=4)", {0.08, 0.12}, 4.5, 4.51},
  };
  // Values left as f16 are rounded again after two transforms in float.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
