#include "host/weights.h"

#include <fmt/format.h>
#include <ggml.h>

namespace kvsplice::host {

Result<Weights> Weights::find(const std::vector<GgufSource>& files, const std::string& name) {
  for (const GgufSource& file : files) {
    const SourceTensor* tensor = file.find(name);
    if (tensor == nullptr) continue;
    if (tensor->type == GGML_TYPE_F32 || ggml_get_type_traits(tensor->type)->to_float != nullptr) {
      return Weights(file, *tensor);
    }
    return Error{ErrorKind::unsupported,
                 fmt::format("weights '{}' are of type {}", name, ggml_type_name(tensor->type))};
  }
  return Error{ErrorKind::unsupported, fmt::format("the model's files hold no '{}'", name)};
}

Result<> Weights::read(size_t first, MatrixView<float> out) const {
  assert(first + out.rows <= rows() && out.cols == cols() && out.stride == out.cols);
  const size_t row_bytes = ggml_row_size(tensor_->type, static_cast<int64_t>(cols()));
  const uint64_t offset = tensor_->offset + first * row_bytes;
  if (tensor_->type == GGML_TYPE_F32) {
    return file_->read_bytes(offset, out.data, out.rows * row_bytes);
  }
  std::vector<uint8_t> bytes(out.rows * row_bytes);
  KVS_TRY(file_->read_bytes(offset, bytes.data(), bytes.size()));
  const auto to_float = ggml_get_type_traits(tensor_->type)->to_float;
  to_float(bytes.data(), out.data, static_cast<int64_t>(out.rows * out.cols));
  return {};
}

}  // namespace kvsplice::host
