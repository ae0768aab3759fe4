#include "host/capture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

namespace kvsplice::host {

namespace {

// Copies [n x heads * dim] out of a float tensor whose innermost dimension is `dim` long, given the
// dimensions that count heads and tokens. Everything is fetched at once, gaps included.
Result<Matrix<float>> fetch(const ggml_tensor* t, int head_axis, int token_axis) {
  if (t->type != GGML_TYPE_F32) {
    return Error{ErrorKind::unsupported, fmt::format("node '{}' is of type {}, f32 was expected",
                                                     t->name, ggml_type_name(t->type))};
  }
  const auto dim = static_cast<size_t>(t->ne[0]);
  const auto heads = static_cast<size_t>(t->ne[head_axis]);
  const auto n = static_cast<size_t>(t->ne[token_axis]);
  const size_t head_stride = t->nb[head_axis], token_stride = t->nb[token_axis];
  Matrix<float> rows(n, heads * dim);
  const bool dense = head_stride == dim * sizeof(float) && token_stride == heads * head_stride;
  if (dense) {
    ggml_backend_tensor_get(t, rows.data(), 0, rows.size() * sizeof(float));
    return rows;
  }
  std::vector<uint8_t> bytes(ggml_nbytes(t));
  ggml_backend_tensor_get(t, bytes.data(), 0, bytes.size());
  for (size_t r = 0; r < n; ++r) {
    for (size_t h = 0; h < heads; ++h) {
      std::memcpy(&rows(r, h * dim), &bytes[r * token_stride + h * head_stride],
                  dim * sizeof(float));
    }
  }
  return rows;
}

// Rows about to be stored: [width, n], or one value per row when values are stored transposed, then
// possibly padded to the widest layer.
Result<Matrix<float>> fetch_stored(const ggml_tensor* t, size_t n, size_t width) {
  if (t->ne[0] != 1 || width == 1) {
    KVS_ASSIGN(Matrix<float> rows, fetch(t, 2, 1));
    if (rows.rows() == n && rows.cols() == width) return rows;
  } else if (const size_t padded = size_t(t->ne[1]) / n;
             padded >= width && t->nb[1] == sizeof(float)) {
    Matrix<float> rows(n, padded);
    ggml_backend_tensor_get(t, rows.data(), 0, rows.size() * sizeof(float));
    return padded == width ? rows : copy(rows.view().col_range(0, width));
  }
  return Error{ErrorKind::unsupported,
               fmt::format("stored rows '{}' are {} x {}, {} x {} were expected", t->name, t->ne[1],
                           t->ne[0], n, width)};
}

}  // namespace

Capturer::Capturer(const Model::Impl& model, const ContextOptions& options,
                   std::vector<std::array<CacheTensor, 2>> caches)
    : model_(model), options_(options), caches_(std::move(caches)) {
  for (size_t i = 0; i < model_.shape.layers.size(); ++i) {
    index_[model_.shape.layers[i].layer] = static_cast<int>(i);
    if (wants(Signal::key_before_rope) && !model_.hooks[i].before_rope.name.empty()) {
      before_rope_[model_.hooks[i].before_rope] = static_cast<int>(i);
    }
  }
  attention_due_.resize(model_.shape.layers.size());
}

void Capturer::begin(size_t first, size_t n) {
  first_ = first;
  n_ = n;
  outcome_ = {};
}

bool Capturer::wants(Signal signal) const {
  return std::find(options_.signals.begin(), options_.signals.end(), signal) !=
         options_.signals.end();
}

std::optional<int> Capturer::index_of(std::optional<int> model_layer) const {
  if (!model_layer) return {};
  const auto found = index_.find(*model_layer);
  return found == index_.end() ? std::nullopt : std::optional<int>(found->second);
}

bool Capturer::on_node(ggml_tensor* node, bool ask) {
  if (!outcome_.ok()) return false;
  if (ask) {
    sight_ = recognise(node);
    return sight_.has_value();
  }
  if (sight_) outcome_ = take(*sight_, node);
  return outcome_.ok();
}

std::optional<Capturer::Sight> Capturer::recognise(ggml_tensor* node) {
  if (node->op == GGML_OP_SET_ROWS) return recognise_store(node);
  if (node->op == GGML_OP_FLASH_ATTN_EXT) return recognise_attention(node->src[1]);
  if (is_key_query_product(node)) return recognise_attention(node->src[0]);
  if (before_rope_.empty()) return {};
  const auto found = before_rope_.find({node->name, node->op});
  if (found == before_rope_.end()) return {};
  return Sight{Signal::key_before_rope, found->second};
}

std::optional<Capturer::Sight> Capturer::recognise_store(ggml_tensor* node) {
  if (const auto layer = index_of(key_cache_layer(node))) {
    attention_due_[size_t(*layer)] = true;
    const bool unrotate = wants(Signal::key_before_rope) && hooks(*layer).before_rope.name.empty();
    if (options_.write_back || wants(Signal::key) || unrotate) return Sight{Signal::key, *layer};
  }
  if (const auto layer = index_of(value_cache_layer(node))) {
    if (options_.write_back || wants(Signal::value)) return Sight{Signal::value, *layer};
  }
  return {};
}

std::optional<Capturer::Sight> Capturer::recognise_attention(ggml_tensor* key) {
  const auto layer = index_of(key_cache_layer(key));
  if (!layer || !wants(Signal::query) || !attention_due_[size_t(*layer)]) return {};
  attention_due_[size_t(*layer)] = false;
  return Sight{Signal::query, *layer};
}

Result<> Capturer::take(const Sight& sight, const ggml_tensor* node) {
  switch (sight.signal) {
    case Signal::key:
      return take_store(Kind::key, sight.layer, node->src[0]);
    case Signal::value:
      return take_store(Kind::value, sight.layer, node->src[0]);
    case Signal::query:
      return take_query(sight.layer, node->src[node->op == GGML_OP_FLASH_ATTN_EXT ? 0 : 1]);
    case Signal::key_before_rope:
      break;
  }
  KVS_ASSIGN(Matrix<float> rows, fetch(node, 1, 2));
  return hand_over(Signal::key_before_rope, sight.layer, shape(sight.layer).key_dim, rows);
}

Result<> Capturer::take_store(Kind kind, int layer, const ggml_tensor* stored) {
  const LayerShape& l = shape(layer);
  const auto width = static_cast<size_t>(l.width(kind));
  if (options_.write_back) {
    const CacheTensor& cache = caches_[size_t(layer)][kind == Kind::key ? 0 : 1];
    Matrix<float> rows(n_, width);
    cache.get(first_, rows);
    KVS_TRY(cache.set(first_, rows));
  }
  if (options_.signals.empty()) return {};
  KVS_ASSIGN(Matrix<float> rows, fetch_stored(stored, n_, width));
  if (kind == Kind::value) {
    return wants(Signal::value) ? hand_over(Signal::value, layer, l.value_dim, rows) : Result<>();
  }
  if (wants(Signal::key)) KVS_TRY(hand_over(Signal::key, layer, l.key_dim, rows));
  if (!wants(Signal::key_before_rope) || !hooks(layer).before_rope.name.empty()) return {};
  std::vector<int32_t> positions(n_);
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(first_));
  l.rope.undo(rows, l.key_dim, positions);
  return hand_over(Signal::key_before_rope, layer, l.key_dim, rows);
}

Result<> Capturer::take_query(int layer, const ggml_tensor* node) {
  KVS_ASSIGN(Matrix<float> rows, fetch(node, 2, 1));
  if (const float gain = hooks(layer).query_gain; gain != 1) {
    for (float& v : rows.flat()) v *= gain;
  }
  return hand_over(Signal::query, layer, shape(layer).key_dim, rows);
}

Result<> Capturer::hand_over(Signal signal, int layer, int head_dim, MatrixView<const float> rows) {
  if (rows.rows != n_) {
    return Error{ErrorKind::unsupported,
                 fmt::format("layer {} showed {} rows of '{}' for {} tokens", shape(layer).layer,
                             rows.rows, name(signal), n_)};
  }
  return options_.capture({signal, layer, head_dim, first_, rows});
}

}  // namespace kvsplice::host
