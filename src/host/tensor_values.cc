#include "host/tensor_values.h"

#include <fmt/format.h>
#include <ggml-backend.h>

#include <algorithm>
#include <cstring>

namespace kvsplice::host {

namespace {

template <class T>
std::vector<T> elements(const ggml_tensor* t) {
  std::vector<uint8_t> bytes(ggml_nbytes(t));
  ggml_backend_tensor_get(t, bytes.data(), 0, bytes.size());
  std::vector<T> values(count(t));
  for_elements(t, [&](size_t i, size_t at) { std::memcpy(&values[i], &bytes[at], sizeof(T)); });
  return values;
}

}  // namespace

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
  if (t->type == GGML_TYPE_F32) return elements<float>(t);
  const std::vector<ggml_fp16_t> halves = elements<ggml_fp16_t>(t);
  std::vector<float> values(halves.size());
  std::transform(halves.begin(), halves.end(), values.begin(), ggml_fp16_to_fp32);
  return values;
}

Result<std::vector<int64_t>> rows_of(const ggml_tensor* t) {
  if (t->type == GGML_TYPE_I64) return elements<int64_t>(t);
  if (t->type != GGML_TYPE_I32) return unknown_derivative(t, "row numbers of another kind");
  const std::vector<int32_t> narrow = elements<int32_t>(t);
  return std::vector<int64_t>(narrow.begin(), narrow.end());
}

float float_param(const ggml_tensor* node, int i) {
  float value = 0;
  std::memcpy(&value, &node->op_params[i], sizeof value);
  return value;
}

int int_param(const ggml_tensor* node, int i) { return node->op_params[i]; }

}  // namespace kvsplice::host
