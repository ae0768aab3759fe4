#include "host/tensor_values.h"

#include <fmt/format.h>
#include <ggml-backend.h>

#include <algorithm>
#include <cstring>

namespace kvsplice::host {

Error unknown_derivative(const ggml_tensor* node, const char* why) {
  return {ErrorKind::unsupported, fmt::format("the derivative of node '{}' ({}) is not known: {}",
                                              node->name, ggml_op_desc(node), why)};
}

Result<std::vector<float>> values_of(const ggml_tensor* t) {
  if (t->type != GGML_TYPE_F32 && t->type != GGML_TYPE_F16) {
    return unknown_derivative(t, "not of floats");
  }
  if (t->type == GGML_TYPE_F32 && ggml_is_contiguous(t)) {
    std::vector<float> values(count(t));
    ggml_backend_tensor_get(t, values.data(), 0, values.size() * sizeof(float));
    return values;
  }
  std::vector<uint8_t> bytes(ggml_nbytes(t));
  ggml_backend_tensor_get(t, bytes.data(), 0, bytes.size());
  std::vector<float> values(count(t));
  for_elements(t, [&](size_t i, size_t at) {
    if (t->type == GGML_TYPE_F32) {
      std::memcpy(&values[i], &bytes[at], sizeof(float));
    } else {
      ggml_fp16_t half;
      std::memcpy(&half, &bytes[at], sizeof half);
      values[i] = ggml_fp16_to_fp32(half);
    }
  });
  return values;
}

Result<std::vector<int64_t>> rows_of(const ggml_tensor* t) {
  const bool wide = t->type == GGML_TYPE_I64;
  if ((!wide && t->type != GGML_TYPE_I32) || !ggml_is_contiguous(t)) {
    return unknown_derivative(t, "row numbers of another kind");
  }
  std::vector<int64_t> rows(count(t));
  if (wide) {
    ggml_backend_tensor_get(t, rows.data(), 0, ggml_nbytes(t));
    return rows;
  }
  std::vector<int32_t> narrow(rows.size());
  ggml_backend_tensor_get(t, narrow.data(), 0, ggml_nbytes(t));
  std::copy(narrow.begin(), narrow.end(), rows.begin());
  return rows;
}

float float_param(const ggml_tensor* node, int i) {
  float value = 0;
  std::memcpy(&value, &node->op_params[i], sizeof value);
  return value;
}

}  // namespace kvsplice::host
