// What `rotmean` and its fit share.
#pragma once

#include "core/params.h"

namespace kvsplice::codec {

struct RotmeanParams {
  std::string rest = "off";

  template <class V>
  void visit(V&& v) {
    v("rest", rest, "whether what rows differ from the mean by goes on to the next stage",
      Choice{"on", "off"});
  }
};

}  // namespace kvsplice::codec
