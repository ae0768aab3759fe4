#include "api/views.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "core/errors.h"
#include "core/half.h"
#include "core/limits.h"
#include "session/cells.h"

namespace kvsplice::api {

namespace {

Result<Element> element_of(kvs_element element) {
  switch (element) {
    case KVS_F32:
      return Element::f32;
    case KVS_F16:
      return Element::f16;
    case KVS_BF16:
      return Element::bf16;
  }
  return usage_error(fmt::format("element type {}; legal: KVS_F32, KVS_F16, KVS_BF16", element));
}

Result<> check_rows(const kvs_rows& rows, size_t count, size_t width, bool absent) {
  KVS_TRY(element_of(rows.element));
  if (absent || count == 0 || width == 0) return {};
  if (rows.data == nullptr) return usage_error("no rows");
  if ((rows.row_stride == 0 && count > 1) || (rows.col_stride == 0 && width > 1)) {
    return usage_error(fmt::format("{} rows of {} with strides {} and {}; none may be 0", count,
                                   width, rows.row_stride, rows.col_stride));
  }
  return {};
}

bool all_absent(const LayerShape& layer, size_t count, size_t absent) {
  return layer.window > 0 && absent == count;
}

Result<> check_block(const kvs_block& block, const ModelShape& shape, size_t absent) {
  if (block.keys == nullptr || block.values == nullptr) {
    return usage_error(
        fmt::format("no keys or no values; those of {} layers are wanted", shape.layers.size()));
  }
  if (absent > block.count) {
    return usage_error(fmt::format("{} of {} tokens are absent", absent, block.count));
  }
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      const LayerShape& layer = shape.layers[l];
      const auto checked =
          check_rows(rows_of(block, kind)[l], block.count, size_t(layer.width(kind)),
                     all_absent(layer, block.count, absent));
      if (checked.ok()) continue;
      return usage_error(
          fmt::format("{}s of layer {}: {}", name(kind), l, checked.error().message));
    }
  }
  return {};
}

// To the nearest, ties to even.
uint16_t to_bfloat(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// The memory need not be aligned. E is what `convert` makes of a value.
template <class Convert>
void write_as(MatrixView<const float> rows, size_t at, const kvs_rows& to, const Convert& convert) {
  using E = decltype(convert(0.f));
  constexpr auto kBytes = static_cast<ptrdiff_t>(sizeof(E));
  for (size_t r = 0; r < rows.rows; ++r) {
    auto* place =
        static_cast<uint8_t*>(to.data) + static_cast<ptrdiff_t>(at + r) * to.row_stride * kBytes;
    for (size_t c = 0; c < rows.cols; ++c, place += to.col_stride * kBytes) {
      const E element = convert(rows(r, c));
      std::memcpy(place, &element, sizeof element);
    }
  }
}

}  // namespace

const kvs_rows* rows_of(const kvs_block& block, Kind kind) {
  return kind == Kind::key ? block.keys : block.values;
}

Result<Tokens> tokens_of(const kvs_block& block) {
  if (block.count > limits::kTokens) {
    return usage_error(fmt::format("{} tokens; at most {}", block.count, limits::kTokens));
  }
  if (block.count > 0 && (block.tokens == nullptr || block.positions == nullptr)) {
    return usage_error("no tokens or no positions");
  }
  return Tokens{{block.tokens, block.count}, {block.positions, block.count}};
}

Result<KvView> view_of(const kvs_block* block, const ModelShape& shape) {
  if (block == nullptr) return usage_error("no block");
  KVS_TRY(check_block(*block, shape, block->absent));
  KVS_ASSIGN(const Tokens tokens, tokens_of(*block));
  KVS_TRY(session::check_tokens(tokens.tokens, shape));
  KvView view;
  view.tokens = tokens.tokens;
  view.positions = tokens.positions;
  KVS_ASSIGN(view.space, space_of(block->space));
  view.absent = block->absent;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      const LayerShape& layer = shape.layers[l];
      const kvs_rows& rows = rows_of(*block, kind)[l];
      KVS_ASSIGN(const Element element, element_of(rows.element));
      const size_t n = all_absent(layer, block->count, block->absent) ? 0 : block->count;
      view.of(kind).emplace_back(rows.data, n, size_t(layer.width(kind)), rows.row_stride,
                                 rows.col_stride, element);
    }
  }
  return view;
}

Result<> check_place(const kvs_block& block, const ModelShape& shape, size_t absent) {
  return check_block(block, shape, absent);
}

void write(MatrixView<const float> rows, size_t at, const kvs_rows& to) {
  switch (to.element) {
    case KVS_F32:
      return write_as(rows, at, to, [](float x) { return x; });
    case KVS_F16:
      return write_as(rows, at, to, to_finite_half);
    default:
      return write_as(rows, at, to, to_bfloat);
  }
}

KvPlace place_of(const kvs_block& block, const ModelShape& shape, size_t absent) {
  KvPlace place;
  place.count = block.count;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      const LayerShape& layer = shape.layers[l];
      const kvs_rows& rows = rows_of(block, kind)[l];
      const RowsPlace all(rows.data, block.count, size_t(layer.width(kind)), rows.row_stride,
                          rows.col_stride);
      const size_t skip = layer.window > 0 ? absent : 0;
      place.of(kind).push_back(all.row_range(skip, block.count - skip));
    }
  }
  return place;
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
    return usage_error(
        fmt::format("a fingerprint of {} characters; legal: 1 ... 64", shape.fingerprint.size()));
  }
  if (model.layer_count < 1 || model.layer_count > limits::kLayers || model.layers == nullptr) {
    return usage_error(
        fmt::format("{} layers; legal: 1 ... {}", model.layer_count, limits::kLayers));
  }
  for (int l = 0; l < model.layer_count; ++l) {
    const kvs_layer& from = model.layers[l];
    LayerShape layer;
    layer.layer = model.layer_numbers != nullptr ? model.layer_numbers[l] : l;
    layer.kv_heads = from.kv_heads;
    layer.key_dim = from.key_dim;
    layer.value_dim = from.value_dim;
    layer.window = from.window;
    const int least = l > 0 ? shape.layers.back().layer + 1 : 0;
    if (layer.layer < least || layer.layer >= limits::kLayers) {
      return usage_error(fmt::format("layer {} has number {}; legal: {} ... {}", l, layer.layer,
                                     least, limits::kLayers - 1));
    }
    const bool legal = from.kv_heads >= 1 && from.kv_heads <= limits::kHeads && from.key_dim >= 1 &&
                       from.key_dim <= limits::kHeadDim && from.value_dim >= 0 &&
                       from.value_dim <= limits::kHeadDim && from.window >= 0 &&
                       from.window <= limits::kWindow;
    if (!legal) {
      return usage_error(fmt::format("layer {}: {} heads of {} and {}, window {}", l, from.kv_heads,
                                     from.key_dim, from.value_dim, from.window));
    }
    shape.layers.push_back(layer);
  }
  const auto widths = check_widths(shape.layers);
  if (!widths.ok()) return usage_error(widths.error().message);
  return shape;
}

Result<Space> space_of(kvs_space space) {
  if (space == KVS_RAW) return Space::raw;
  if (space == KVS_CACHED) return Space::cached;
  return usage_error(fmt::format("space {}; legal: KVS_RAW, KVS_CACHED", space));
}

}  // namespace kvsplice::api
