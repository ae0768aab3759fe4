// Attention answered from a live cache (src/live) in place of llama.cpp's own: what its graph
// stores is taken, and what its attention nodes make is written over. Its cache then needs to hold
// no more than the tokens that are evaluated together.
#pragma once

#include "host/capture.h"
#include "live/layer_cache.h"

namespace kvsplice::host {

class LiveAttention {
 public:
  // Error usage for a form of another model; unsupported, and why, for layers that are not handled.
  static Result<std::unique_ptr<LiveAttention>> create(
      const Model::Impl& model, std::shared_ptr<const live::LiveForm> form,
      const live::LiveOptions& options, std::vector<std::array<CacheTensor, 2>> caches);

  void begin(size_t first, size_t n);
  bool on_node(ggml_tensor* node, bool ask);
  Result<> outcome() const;

  void clear();
  const std::vector<live::LayerCache>& layers() const { return layers_; }
  void set_layers(std::vector<live::LayerCache> layers) { layers_ = std::move(layers); }
  const live::LiveForm& form() const { return *form_; }
  live::CellBytes cells() const;  // of all layers; the tokens are those of the one that has most
  size_t table_bytes() const { return form_->table_bytes(); }

 private:
  LiveAttention(const Model::Impl& model, std::shared_ptr<const live::LiveForm> form,
                const live::LiveOptions& options);
  Result<> take(const Capture& capture);
  Result<> answer(ggml_tensor* node);

  const Model::Impl& model_;
  std::shared_ptr<const live::LiveForm> form_;
  live::LiveOptions live_options_;
  ContextOptions options_;  // of the capturer
  std::unique_ptr<Capturer> capturer_;
  std::vector<live::LayerCache> layers_;
  Matrix<float> keys_;  // of the layer whose values come next
  Matrix<float> queries_;
  int asking_ = -1;  // the layer whose queries have come
  Result<> outcome_;
};

}  // namespace kvsplice::host
