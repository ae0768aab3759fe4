#include "host/live_attention.h"

#include <fmt/format.h>

#include <cmath>

#include "core/same_cache.h"
#include "host/openmp_threads.h"
#include "host/tensor_values.h"

namespace kvsplice::host {

namespace {

Result<> check_layers(const Model::Impl& model) {
  const auto refused = [](int layer, const char* why) {
    return Error{ErrorKind::unsupported, fmt::format("no live cache yet: layer {} {}", layer, why)};
  };
  for (const LayerShape& l : model.shape.layers) {
    if (l.value_dim == 0) return refused(l.layer, "has no values of its own (MLA)");
  }
  if (!model.shape.hybrid()) return {};
  return refused(model.shape.recurrent[0].layer, "is recurrent");
}

}  // namespace

Result<> Model::check_live_cache() const { return check_layers(*impl_); }

LiveAttention::LiveAttention(const Model::Impl& model, std::shared_ptr<const live::LiveForm> form,
                             const live::LiveOptions& options)
    : model_(model), form_(std::move(form)), live_options_(options) {
  options_.signals = {Signal::key, Signal::value, Signal::query};
  options_.capture = [this](const Capture& c) { return take(c); };
  clear();
}

Result<std::unique_ptr<LiveAttention>> LiveAttention::create(
    const Model::Impl& model, std::shared_ptr<const live::LiveForm> form,
    const live::LiveOptions& options, std::vector<std::array<CacheTensor, 2>> caches) {
  if (form->shape().fingerprint != model.shape.fingerprint) {
    return Error{ErrorKind::usage, fmt::format("the live codec is of model {}, not of {}",
                                               form->shape().model_name, model.shape.model_name)};
  }
  KVS_TRY(check_layers(model));
  std::unique_ptr<LiveAttention> made(new LiveAttention(model, std::move(form), options));
  made->capturer_ = std::make_unique<Capturer>(model, made->options_, std::move(caches));
  return made;
}

void LiveAttention::clear() {
  layers_.clear();
  for (size_t l = 0; l < form_->shape().layers.size(); ++l) {
    layers_.emplace_back(*form_, l, live_options_);
  }
}

live::CellBytes LiveAttention::cells() const {
  live::CellBytes all;
  for (const live::LayerCache& layer : layers_) {
    const live::CellBytes own = layer.bytes();
    all = {std::max(all.tokens, own.tokens), all.f16 + own.f16, all.coded + own.coded,
           all.exact + own.exact};
  }
  return all;
}

void LiveAttention::begin(size_t first, size_t n) {
  capturer_->begin(first, n);
  outcome_ = {};
  asking_ = -1;
}

Result<> LiveAttention::outcome() const {
  KVS_TRY(capturer_->outcome());
  return outcome_;
}

Result<> LiveAttention::take(const Capture& capture) {
  auto& layer = layers_[size_t(capture.layer)];
  if (capture.signal == Signal::key) {
    keys_ = copy(capture.rows);
  } else if (capture.signal == Signal::value) {
    return layer.append(keys_, capture.rows);
  } else {
    queries_ = copy(capture.rows);
    asking_ = capture.layer;
  }
  return {};
}

bool LiveAttention::on_node(ggml_tensor* node, bool ask) {
  const bool goes_on = capturer_->on_node(node, ask);
  if (ask || !goes_on || asking_ < 0) return goes_on;
  outcome_ = answer(node);
  asking_ = -1;
  return outcome_.ok();
}

Result<> LiveAttention::answer(ggml_tensor* node) {
  const LayerShape& l = model_.shape.layers[size_t(asking_)];
  if (node->op != GGML_OP_FLASH_ATTN_EXT || float_param(node, 1) != 0) {
    return Error{
        ErrorKind::unsupported,
        fmt::format("no live cache yet: attention of layer {} is biased by distance", l.layer)};
  }
  const auto heads = size_t(model_.shape.query_heads_of(asking_));
  Matrix<float> out(queries_.rows(), heads * size_t(l.value_dim));
  if (node->type != GGML_TYPE_F32 || count(node) != out.size()) {
    return Error{ErrorKind::unsupported,
                 fmt::format("attention of layer {} makes other rows than expected", l.layer)};
  }
  const float scale = 1 / std::sqrt(float(l.key_dim));
  const OpenMpThreads threads;
  layers_[size_t(asking_)].attend(queries_, scale, model_.scoring[size_t(asking_)], out);
  ggml_backend_tensor_set(node, out.data(), 0, out.size() * sizeof(float));
  return {};
}

}  // namespace kvsplice::host
