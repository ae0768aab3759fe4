// What `rotmean` and its fit share.
#pragma once

namespace kvsplice::codec {

struct RotmeanParams {
  template <class V>
  void visit(V&&) {}
};

}  // namespace kvsplice::codec
