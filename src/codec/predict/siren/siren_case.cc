#include "codec/stage_case.h"

namespace kvsplice::codec {

// Variable projection with more waves than the shorter blocks have rows, up to more cycles than
// rows can tell apart: these are then met exactly, and only then does training on decoded rows lead
// back to them. The recipe's Adam is tested in functions/siren_test.cc.
StageCase siren_case() {
  StageCase c;
  c.stage = "siren";
  c.variants = {
      {"siren(trainer=varpro,epochs=2,hidden=120,layers=0,omega=300)",
       {0.243, 0.311},
       15.663,
       16.97},
      {"siren(config=tiny,trainer=varpro,epochs=1,hidden=100,layers=0,omega=300,share=layer)",
       {0.251, 0.321},
       12.738,
       13.801},
  };
  c.idempotent = false;  // each block is fitted anew, to float precision
  return c;
}

}  // namespace kvsplice::codec
