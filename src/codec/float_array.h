// Floats as side data, in one of two precisions.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include "codec/checks.h"
#include "core/half.h"

namespace kvsplice::codec {

inline const Choice kFloatTypes = {"f16", "f32"};

inline Result<> put_floats(std::span<const float> values, const std::string& type,
                           ByteWriter& side) {
  if (type == "f32") {
    side.put_array(values);
    return {};
  }
  for (float value : values) {
    if (!(std::abs(value) < 65520)) {
      return Error{ErrorKind::numeric,
                   "a coefficient of " + std::to_string(value) + " does not fit f16; use type=f32"};
    }
    side.put(to_half(value));
  }
  return {};
}

// [rows x cols], all finite.
inline Result<Matrix<float>> get_floats(size_t rows, size_t cols, const std::string& type,
                                        ByteReader& side) {
  Matrix<float> out;
  if (type == "f32") {
    KVS_ASSIGN(const auto values, side.get_array<float>(rows * cols));
    out = Matrix<float>(rows, cols);
    std::copy(values.begin(), values.end(), out.data());
  } else {
    KVS_ASSIGN(const auto values, side.get_array<uint16_t>(rows * cols));
    out = Matrix<float>(rows, cols);
    std::transform(values.begin(), values.end(), out.data(), from_half);
  }
  KVS_TRY(check_finite(out));
  return out;
}

}  // namespace kvsplice::codec
