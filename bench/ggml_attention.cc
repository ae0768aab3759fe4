#include "bench/ggml_attention.h"

#include <fmt/format.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include <cmath>
#include <cstring>
#include <memory>

#include "core/bytes.h"
#include "core/threads.h"
#include "host/cache_type.h"

namespace kvsplice::bench {

namespace {

constexpr int64_t kMaskRows = 64;  // what llama.cpp makes masks a multiple of
constexpr size_t kRoom = 1 << 20;  // for the graph

struct Attention {
  std::unique_ptr<ggml_context, decltype(&ggml_free)> context{nullptr, ggml_free};
  ggml_cgraph* graph = nullptr;
  ggml_cplan plan{};
  Bytes work;
};

// Heads of rows as attention takes them: [dim x rows x heads].
ggml_tensor* rows_of(ggml_context* c, ggml_type type, size_t dim, MatrixView<const float> rows) {
  ggml_tensor* all =
      ggml_new_tensor_3d(c, type, int64_t(dim), int64_t(rows.cols / dim), int64_t(rows.rows));
  const size_t row_bytes = ggml_row_size(type, int64_t(rows.cols));
  for (size_t r = 0; r < rows.rows; ++r) {
    auto* to = static_cast<uint8_t*>(all->data) + r * row_bytes;
    if (type == GGML_TYPE_F32) {
      std::memcpy(to, rows.row(r).data(), row_bytes);
    } else {
      ggml_quantize_chunk(type, rows.row(r).data(), to, 0, 1, int64_t(rows.cols), nullptr);
    }
  }
  return ggml_permute(c, all, 0, 2, 1, 3);
}

}  // namespace

Result<std::function<void()>> ggml_attention(const LayerShape& layer, host::CacheType type,
                                             MatrixView<const float> keys,
                                             MatrixView<const float> values,
                                             MatrixView<const float> queries,
                                             MatrixView<float> out) {
  const ggml_type stored = host::ggml_type_of(type);
  const size_t cells = keys.rows * (ggml_row_size(stored, int64_t(keys.cols)) +
                                    ggml_row_size(stored, int64_t(values.cols)));
  const size_t mask_bytes = size_t(kMaskRows) * keys.rows * sizeof(ggml_fp16_t);
  const auto made = std::make_shared<Attention>();
  made->context.reset(ggml_init({cells + mask_bytes + kRoom, nullptr, false}));
  ggml_context* c = made->context.get();
  if (c == nullptr) return Error{ErrorKind::memory, "ggml has no memory for attention"};
  ggml_tensor* q = rows_of(c, GGML_TYPE_F32, size_t(layer.key_dim), queries);
  ggml_tensor* k = rows_of(c, stored, size_t(layer.key_dim), keys);
  ggml_tensor* v = rows_of(c, stored, size_t(layer.value_dim), values);
  ggml_tensor* mask = ggml_new_tensor_2d(c, GGML_TYPE_F16, int64_t(keys.rows), kMaskRows);
  std::memset(mask->data, 0, mask_bytes);
  ggml_tensor* y = ggml_flash_attn_ext(c, q, k, v, mask, 1 / std::sqrt(float(layer.key_dim)), 0, 0);
  made->graph = ggml_new_graph(c);
  ggml_build_forward_expand(made->graph, y);
  made->plan = ggml_graph_plan(made->graph, thread_count(), nullptr);
  made->work.resize(made->plan.work_size);
  made->plan.work_data = made->work.data();
  return std::function<void()>([made, y, out] {
    ggml_graph_compute(made->graph, &made->plan);
    std::memcpy(out.data, y->data, out.rows * out.cols * sizeof(float));
  });
}

}  // namespace kvsplice::bench
