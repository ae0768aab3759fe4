#include "api/views.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>

#include "core/half.h"

namespace kvsplice::api {

namespace {

Error usage(std::string message) { return {ErrorKind::usage, std::move(message)}; }

Result<Element> element_of(kvs_element element) {
  switch (element) {
    case KVS_F32:
      return Element::f32;
    case KVS_F16:
      return Element::f16;
    case KVS_BF16:
      return Element::bf16;
  }
  return usage(fmt::format("element type {}; legal: KVS_F32, KVS_F16, KVS_BF16", int(element)));
}

Result<> check_block(const kvs_block* block, const ModelShape& shape) {
  if (block == nullptr) return usage("no block");
  if (block->keys == nullptr || block->values == nullptr) {
    return usage(
        fmt::format("no rows; keys and values of {} layers are wanted", shape.layers.size()));
  }
  if (block->absent > block->count) {
    return usage(fmt::format("{} of {} tokens are absent", block->absent, block->count));
  }
  return {};
}

const kvs_rows* rows_of(const kvs_block& block, Kind kind) {
  return kind == Kind::key ? block.keys : block.values;
}

}  // namespace

Result<KvView> view_of(const kvs_block* block, const ModelShape& shape) {
  KVS_TRY(check_block(block, shape));
  if (block->count > 0 && (block->tokens == nullptr || block->positions == nullptr)) {
    return usage("no tokens or no positions");
  }
  if (block->count > limits::kTokens) {
    return usage(fmt::format("{} tokens; at most {}", block->count, limits::kTokens));
  }
  KvView view;
  view.tokens = {block->tokens, block->count};
  view.positions = {block->positions, block->count};
  view.space = space_of(block->space);
  view.absent = block->absent;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      const kvs_rows& rows = rows_of(*block, kind)[l];
      const auto width = static_cast<size_t>(shape.layers[l].width(kind));
      KVS_ASSIGN(const Element element, element_of(rows.element));
      const bool lacking = block->absent == block->count && shape.layers[l].window > 0;
      if (rows.data == nullptr && block->count > 0 && !lacking) {
        return usage(fmt::format("no rows of layer {} {}s", l, name(kind)));
      }
      const size_t n = rows.data == nullptr ? 0 : block->count;
      view.of(kind).emplace_back(rows.data, n, width, rows.row_stride, rows.col_stride, element);
    }
  }
  return view;
}

Result<> check_place(const kvs_block* block, const ModelShape& shape) {
  KVS_TRY(check_block(block, shape));
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      const kvs_rows& rows = rows_of(*block, kind)[l];
      if (rows.data == nullptr && block->count > 0) {
        return usage(fmt::format("no place for the rows of layer {} {}s", l, name(kind)));
      }
      if (rows.element != KVS_F32 && rows.element != KVS_F16) {
        return usage(fmt::format("element type {} of a place for rows; legal: KVS_F32, KVS_F16",
                                 int(rows.element)));
      }
    }
  }
  return {};
}

void write(MatrixView<const float> rows, size_t at, const kvs_rows& to) {
  for (size_t r = 0; r < rows.rows; ++r) {
    const ptrdiff_t first = static_cast<ptrdiff_t>(at + r) * to.row_stride;
    for (size_t c = 0; c < rows.cols; ++c) {
      const ptrdiff_t place = first + static_cast<ptrdiff_t>(c) * to.col_stride;
      if (to.element == KVS_F32) {
        static_cast<float*>(to.data)[place] = rows(r, c);
      } else {
        static_cast<uint16_t*>(to.data)[place] = to_finite_half(rows(r, c));
      }
    }
  }
}

kvs_layer layer_of(const LayerShape& layer) {
  return {layer.kv_heads, layer.key_dim, layer.value_dim, layer.window};
}

Result<ModelShape> shape_of(const kvs_model& model) {
  const auto text = [](const char* s) { return std::string(s == nullptr ? "" : s); };
  ModelShape shape;
  shape.fingerprint = text(model.fingerprint);
  shape.model_name = text(model.name);
  shape.architecture = text(model.architecture);
  if (shape.fingerprint.empty() || shape.fingerprint.size() > 64) {
    return usage(
        fmt::format("a fingerprint of {} characters; legal: 1 ... 64", shape.fingerprint.size()));
  }
  if (model.layer_count < 1 || model.layer_count > limits::kLayers || model.layers == nullptr) {
    return usage(fmt::format("{} layers; legal: 1 ... {}", model.layer_count, limits::kLayers));
  }
  for (int l = 0; l < model.layer_count; ++l) {
    const kvs_layer& from = model.layers[l];
    LayerShape layer;
    layer.layer = l;
    layer.kv_heads = from.kv_heads;
    layer.key_dim = from.key_dim;
    layer.value_dim = from.value_dim;
    layer.window = from.window;
    const bool legal = from.kv_heads >= 1 && from.kv_heads <= limits::kHeads && from.key_dim >= 1 &&
                       from.key_dim <= limits::kHeadDim && from.value_dim >= 1 &&
                       from.value_dim <= limits::kHeadDim && from.window >= 0 &&
                       from.window <= limits::kWindow;
    if (!legal) {
      return usage(fmt::format("layer {}: {} heads of {} and {}, window {}", l, from.kv_heads,
                               from.key_dim, from.value_dim, from.window));
    }
    shape.layers.push_back(layer);
  }
  const auto widths = check_widths(shape.layers);
  if (!widths.ok()) return usage(widths.error().message);
  return shape;
}

std::optional<codec::Embeddings> embeddings_of(const kvs_embeddings* lent) {
  if (lent == nullptr || lent->lookup == nullptr) return std::nullopt;
  const kvs_embeddings e = *lent;
  return codec::Embeddings{
      e.dim, [e](std::span<const int32_t> tokens, MatrixView<float> out) -> Result<> {
        Matrix<float> rows(tokens.size(), static_cast<size_t>(e.dim));
        if (e.lookup(e.user, tokens.data(), tokens.size(), rows.data()) != 0) {
          return Error{ErrorKind::io, "the caller gave no token embeddings"};
        }
        for (size_t r = 0; r < rows.rows(); ++r) {
          std::copy(rows.row(r).begin(), rows.row(r).end(), out.row(r).begin());
        }
        return {};
      }};
}

ReadLimits limits_of(const kvs_options* options) {
  ReadLimits limits;
  if (options == nullptr || options->limits == nullptr) return limits;
  if (options->limits->tokens > 0) limits.tokens = options->limits->tokens;
  if (options->limits->bytes > 0) limits.bytes = options->limits->bytes;
  return limits;
}

Space space_of(kvs_space space) { return space == KVS_CACHED ? Space::cached : Space::raw; }

kvs_kind kind_of(Kind kind) { return kind == Kind::key ? KVS_KEY : KVS_VALUE; }

Result<> hand_out(ByteSpan bytes, const kvs_options& options, kvs_buffer& out) {
  kvs_allocator from{nullptr, nullptr, nullptr};
  if (options.allocator != nullptr) from = *options.allocator;
  const size_t size = bytes.empty() ? 1 : bytes.size();
  void* data = from.allocate != nullptr ? from.allocate(from.user, size) : std::malloc(size);
  if (data == nullptr) return Error{ErrorKind::memory, "out of memory"};
  if (!bytes.empty()) std::memcpy(data, bytes.data(), bytes.size());
  out = {static_cast<uint8_t*>(data), bytes.size(), from};
  return {};
}

}  // namespace kvsplice::api
