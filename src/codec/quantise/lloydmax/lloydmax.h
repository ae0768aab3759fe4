// What the quantiser and its fit share.
#pragma once

#include "core/params.h"

namespace kvsplice::codec {

struct LloydMaxParams {
  int bits = 4;

  template <class V>
  void visit(V&& v) {
    v("bits", bits, "bits per code; every column has 2^bits levels", Range{1, 8});
  }
  size_t levels() const { return size_t{1} << bits; }
};

}  // namespace kvsplice::codec
