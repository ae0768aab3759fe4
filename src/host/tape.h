// The nodes of one evaluation, with what their derivatives need, and the walk back over them.
// Gradients are kept for whole tensors, in the order of their elements; a view has none of its own
// but adds to the tensor it looks at.
#pragma once

#include <ggml.h>

#include <functional>
#include <map>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/matrix.h"
#include "core/shape.h"
#include "host/gguf_source.h"
#include "kvsplice/result.h"

namespace kvsplice::host {

class Tape {
 public:
  // Rows about to be stored in a layer's cache (its number in the model), as stored: keys rotated.
  using Stored = std::function<Result<>(Kind kind, int layer, MatrixView<const float> gradient)>;

  explicit Tape(const std::vector<GgufSource>& files) : files_(files) {}

  // As NodeHook::on_node. An operation without a derivative here ends the evaluation.
  bool on_node(ggml_tensor* node, bool ask);
  Result<> outcome() const { return outcome_; }
  size_t bytes() const;  // of what is kept for the walk

  // From the gradient of the last node, [outputs x vocabulary]. The graph must still exist.
  Result<> walk_back(std::span<const float> gradient, const Stored& stored);

 private:
  struct Record {
    ggml_tensor* node = nullptr;
    std::vector<std::vector<float>> values;  // of its sources, as far as its derivative needs them
    std::vector<int64_t> rows;               // that it gets or sets
  };
  using Values = std::vector<float>;

  Result<> record(ggml_tensor* node);
  Result<> step_back(const Record& record, std::span<const float> dy);
  Result<> through_sum(const ggml_tensor* node, std::span<const float> dy);
  void through_norm(const Record& record, std::span<const float> dy);
  Result<> through_activation(const Record& record, std::span<const float> dy);
  Result<> through_choice(const Record& record, std::span<const float> dy);
  Result<> through_weights(const ggml_tensor* node, std::span<const float> dy);
  Result<> through_attention(const Record& record, std::span<const float> dy);
  Result<> through_rotation(const ggml_tensor* node, std::span<const float> dy);
  Result<> through_store(const Record& record, const Stored& stored);
  Result<> through_product(const Record& record, std::span<const float> dy);

  void add(ggml_tensor* t, std::span<const float> gradient);

  const std::vector<GgufSource>& files_;
  std::vector<Record> records_;
  std::map<const ggml_tensor*, Values> masks_;  // of attention, shared by layers
  std::unordered_map<const ggml_tensor*, Values> gradients_;
  Result<> outcome_;
};

}  // namespace kvsplice::host
