// What `fourier` and its fit share.
#pragma once

#include <optional>
#include <string>

#include "codec/float_array.h"
#include "core/params.h"

namespace kvsplice::codec {

struct FourierParams {
  int count = 64;
  std::optional<double> band;
  int seed = 0;
  std::string type = "f16";

  template <class V>
  void visit(V&& v) {
    v("count", count, "frequencies; each gives a sine and a cosine", Range{1, 1 << 14});
    v("band", band, "highest frequency, cycles per block (default: what calibration rows ask for)",
      Range{1e-3, 1e6});
    v("seed", seed, "of the frequencies", Range{0, 2147483647});
    v("type", type, "of the read-out's weights", kFloatTypes);
  }
};

// Bounds of the highest frequency, in cycles per row.
inline constexpr float kLeastBand = 1e-6f, kNyquist = 0.5f;

}  // namespace kvsplice::codec
