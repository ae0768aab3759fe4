#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase hadamard_case() {
  StageCase c;
  c.stage = "hadamard";
  c.variants = {
      {"hadamard", {0.000176, 0.00024}, 16, 16.022},
      {"hadamard | uniform(bits=4)", {0.0881, 0.0975}, 4.5, 4.523},
      {"hadamard | uniform(bits=3,block=1024)", {0.227, 0.252}, 3.25, 3.273},
  };
  // Values left as f16 are rounded again after two transforms in float.
  c.idempotent = false;
  c.learns = false;
  return c;
}

}  // namespace kvsplice::codec
