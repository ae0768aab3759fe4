// Watches the nodes of a running context: hands over the rows a caller wants to see and, for the
// self-test, writes stored rows back.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <vector>

#include "host/cache_rows.h"
#include "host/model_impl.h"

namespace kvsplice::host {

class Capturer {
 public:
  // `caches[i]` are the key and value caches of shape.layers[i].
  Capturer(const Model::Impl& model, const ContextOptions& options,
           std::vector<std::array<CacheTensor, 2>> caches);

  bool idle() const { return !(options_.capture || options_.write_back); }
  // The tokens evaluated next stand at positions first ... first + n - 1.
  void begin(size_t first, size_t n);
  bool on_node(ggml_tensor* node, bool ask);
  Result<> outcome() const { return outcome_; }

 private:
  struct Sight {
    Signal signal;
    int layer;
  };
  std::optional<Sight> recognise(ggml_tensor* node);
  std::optional<Sight> recognise_store(ggml_tensor* node);
  std::optional<Sight> recognise_attention(ggml_tensor* key);
  Result<> take(const Sight& sight, const ggml_tensor* node);
  Result<> take_store(Kind kind, int layer, const ggml_tensor* rows);
  Result<> take_query(int layer, const ggml_tensor* node);
  Result<> hand_over(Signal signal, int layer, int head_dim, MatrixView<const float> rows);
  bool wants(Signal signal) const;
  std::optional<int> index_of(std::optional<int> model_layer) const;
  const LayerShape& shape(int layer) const { return model_.shape.layers[size_t(layer)]; }
  const LayerHooks& hooks(int layer) const { return model_.hooks[size_t(layer)]; }

  const Model::Impl& model_;
  const ContextOptions& options_;
  std::vector<std::array<CacheTensor, 2>> caches_;
  std::map<int, int> index_;             // by number of the layer in the model
  std::map<NodeName, int> before_rope_;  // where keys are seen before rotation
  std::vector<bool> attention_due_;      // a layer's own attention is the first after its store
  size_t first_ = 0, n_ = 0;
  std::optional<Sight> sight_;  // of the node asked for last
  Result<> outcome_;
};

}  // namespace kvsplice::host
