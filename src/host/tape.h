// The nodes of one evaluation, with what their derivatives need, and the walk back over them.
// Gradients are kept for whole tensors, in the order of their elements; a view has none of its own
// but adds to the tensor it looks at. Only what is computed from rows of a cache has one. Integers
// have none: which experts are chosen is a constant.
#pragma once

#include <ggml.h>

#include <functional>
#include <initializer_list>
#include <map>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/matrix.h"
#include "core/shape.h"
#include "host/gguf_source.h"
#include "kvsplice/result.h"

namespace kvsplice::host {

class Tape {
 public:
  // Rows in a layer's cache (its number in the model), as stored: keys rotated.
  using Stored = std::function<Result<>(Kind kind, int layer, MatrixView<const float> gradient)>;

  explicit Tape(const std::vector<GgufSource>& files) : files_(files) {}

  // Of a node about to be computed. Results may take the place of their sources in memory, so
  // sources are read before.
  void record(ggml_tensor* node);
  size_t bytes() const;  // of what is kept for the walk

  // From the gradient of the last node, [outputs x vocabulary]. The graph must still exist. Error
  // unsupported if a gradient arrives at a node whose derivative is not known. `stored` is given
  // the rows that the graph stores or, if `earlier` tokens stand before its own, theirs.
  Result<> walk_back(std::span<const float> gradient, const Stored& stored, size_t earlier = 0);

 private:
  using Values = std::vector<float>;
  struct Record {
    ggml_tensor* node = nullptr;
    std::vector<Values> values;  // of its sources, where its derivative needs them
    std::vector<int64_t> rows;   // that it gets or sets, or experts
    Result<> known;              // an error if its derivative is not
  };

  bool depends(ggml_tensor* t) const;
  bool is_constant(ggml_tensor* node) const;
  Result<> keep_sources(Record& record);
  Result<> keep_attention(Record& record);
  Result<> keep(Record& record, std::initializer_list<int> sources);
  Result<> keep_product(Record& record);
  Result<> keep_start(Record& record, int source, int64_t sequences);

  Result<> step_back(const Record& record, std::span<const float> dy);
  void through_sum(const ggml_tensor* node, std::span<const float> dy);
  void through_difference(const ggml_tensor* node, std::span<const float> dy);
  void through_product(const Record& record, std::span<const float> dy);
  void through_quotient(const Record& record, std::span<const float> dy);
  void through_row_sums(const ggml_tensor* node, float factor, std::span<const float> dy);
  void through_joint(const ggml_tensor* node, std::span<const float> dy);
  void through_copies(const ggml_tensor* node, std::span<const float> dy);
  void through_norm(const Record& record, std::span<const float> dy);
  void through_length(const Record& record, std::span<const float> dy);
  void through_softmax(const Record& record, std::span<const float> dy);
  void through_mixture(const Record& record, std::span<const float> dy);
  void through_clamp(const Record& record, std::span<const float> dy);
  Result<> through_activation(const Record& record, std::span<const float> dy);
  Result<> through_gate(const Record& record, std::span<const float> dy);
  void through_choice(const Record& record, std::span<const float> dy);
  Result<> through_weights(const ggml_tensor* node, std::span<const float> dy);
  void through_activations(const Record& record, std::span<const float> dy);
  Result<> through_convolution(const ggml_tensor* node, std::span<const float> dy);
  Result<> through_scan(const Record& record, std::span<const float> dy);
  void through_delta_rule(const Record& record, std::span<const float> dy);
  Result<> through_experts(const Record& record, std::span<const float> dy);
  Result<> through_attention(const Record& record, std::span<const float> dy);
  Result<> through_rotation(const ggml_tensor* node, std::span<const float> dy);
  Result<> through_store(const Record& record, std::span<const float> dy, const Stored& stored);

  void add(ggml_tensor* t, std::span<const float> gradient);

  const std::vector<GgufSource>& files_;
  size_t earlier_ = 0;
  std::vector<Record> records_;
  std::unordered_set<const ggml_tensor*> dependent_;
  std::map<const ggml_tensor*, Values> masks_;  // of attention, shared by layers
  std::unordered_map<const ggml_tensor*, Values> gradients_;
};

}  // namespace kvsplice::host
