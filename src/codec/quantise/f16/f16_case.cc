#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase f16_case() {
  StageCase c;
  c.stage = "f16";
  c.variants = {
      {"f16", {0.000175, 0.000239}, 16, 16.023},
      {"f16 | range", {0.000175, 0.000239}, 15.557, 16.193},
  };
  c.learns = false;
  return c;
}

}  // namespace kvsplice::codec
