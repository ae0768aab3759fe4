#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase hadamard_case() {
  StageCase c;
  c.stage = "hadamard";
  c.variants = {
      {"hadamard", {1e-5, 1e-3}, 16, 16.3},
      {"hadamard | uniform(bits=4)", {0.01, 0.5}, 4.5, 4.6},
  };
  // Values left as f16 are rounded again after two transforms in float.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
