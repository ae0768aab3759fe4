#include "host/weights.h"

#include <fmt/format.h>
#include <ggml.h>

#include <algorithm>

namespace kvsplice::host {

Result<Matrix<float>> read_weights(const std::vector<GgufSource>& files, const std::string& name) {
  for (const GgufSource& file : files) {
    const SourceTensor* found = file.find(name);
    if (found == nullptr) continue;
    const size_t cols = found->ne[0], rows = found->count() / std::max<size_t>(cols, 1);
    Matrix<float> weights(rows, cols);
    if (found->type == GGML_TYPE_F32) {
      KVS_TRY(file.read_bytes(found->offset, weights.data(), weights.size() * sizeof(float)));
      return weights;
    }
    const ggml_to_float_t to_float = ggml_get_type_traits(found->type)->to_float;
    if (to_float == nullptr) {
      return Error{ErrorKind::unsupported,
                   fmt::format("weights '{}' are of type {}", name, ggml_type_name(found->type))};
    }
    std::vector<uint8_t> bytes(found->bytes);
    KVS_TRY(file.read_bytes(found->offset, bytes.data(), bytes.size()));
    to_float(bytes.data(), weights.data(), static_cast<int64_t>(weights.size()));
    return weights;
  }
  return Error{ErrorKind::unsupported, fmt::format("the model's files hold no '{}'", name)};
}

}  // namespace kvsplice::host
