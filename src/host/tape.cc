#include "host/tape.h"

#include <algorithm>

#include "core/threads.h"
#include "host/derivatives.h"
#include "host/node_hook.h"
#include "host/rope_table.h"
#include "host/tensor_values.h"
#include "host/weights.h"
#include "linalg/linalg.h"

namespace kvsplice::host {

namespace {

using Values = std::vector<float>;

Values copied(std::span<const float> values) { return {values.begin(), values.end()}; }

Values scaled(std::span<const float> values, float factor) {
  Values made = copied(values);
  for (float& v : made) v *= factor;
  return made;
}

// llama.cpp's graphs hold what other inputs would need, too, such as rows beside tokens.
bool is_left_out(const ggml_tensor* node) { return (node->flags & GGML_TENSOR_FLAG_COMPUTE) == 0; }

bool only_looks(const ggml_tensor* node) {
  return node->op == GGML_OP_VIEW || node->op == GGML_OP_RESHAPE || node->op == GGML_OP_PERMUTE ||
         node->op == GGML_OP_TRANSPOSE;
}

const ggml_tensor* base_of(const ggml_tensor* t) { return t->view_src ? t->view_src : t; }

// On keys and values, maybe: it is computed, or is a cache.
bool depends(ggml_tensor* t) {
  return base_of(t)->op != GGML_OP_NONE || key_cache_layer(t) || value_cache_layer(t);
}

Result<Activation> activation_of(const ggml_tensor* node) {
  if (node->op == GGML_OP_GLU) {
    switch (ggml_get_glu_op(node)) {
      case GGML_GLU_OP_REGLU:
        return Activation::relu;
      case GGML_GLU_OP_GEGLU:
        return Activation::gelu;
      case GGML_GLU_OP_SWIGLU:
        return Activation::silu;
      case GGML_GLU_OP_GEGLU_ERF:
        return Activation::gelu_erf;
      case GGML_GLU_OP_GEGLU_QUICK:
        return Activation::gelu_quick;
      default:
        return unknown_derivative(node, "another gate");
    }
  }
  switch (ggml_get_unary_op(node)) {
    case GGML_UNARY_OP_RELU:
      return Activation::relu;
    case GGML_UNARY_OP_GELU:
      return Activation::gelu;
    case GGML_UNARY_OP_SILU:
      return Activation::silu;
    case GGML_UNARY_OP_GELU_ERF:
      return Activation::gelu_erf;
    case GGML_UNARY_OP_GELU_QUICK:
      return Activation::gelu_quick;
    case GGML_UNARY_OP_TANH:
      return Activation::tanh;
    default:
      return unknown_derivative(node, "another function");
  }
}

}  // namespace

size_t Tape::bytes() const {
  size_t bytes = 0;
  for (const Record& record : records_) {
    for (const auto& values : record.values) bytes += values.size() * sizeof(float);
    bytes += record.rows.size() * sizeof(int64_t);
  }
  return bytes;
}

// Results may take the place of their sources in memory, so sources are read before: as every node
// is asked for, all nodes before it have been computed by then.
bool Tape::on_node(ggml_tensor* node, bool ask) {
  if (ask && outcome_.ok()) outcome_ = record(node);
  return ask || outcome_.ok();
}

Result<> Tape::record(ggml_tensor* node) {
  if (is_left_out(node) || only_looks(node)) return {};
  Record r{node, {}, {}};
  const auto keep = [&](const ggml_tensor* source) -> Result<> {
    KVS_ASSIGN(Values values, values_of(source));
    r.values.push_back(std::move(values));
    return {};
  };
  switch (node->op) {
    case GGML_OP_ADD:
    case GGML_OP_SCALE:
    case GGML_OP_CONT:
    case GGML_OP_ROPE:
      break;
    case GGML_OP_MUL_MAT:
      if (depends(node->src[0])) return unknown_derivative(node, "of two activations");
      break;
    case GGML_OP_MUL:
      if (depends(node->src[1])) KVS_TRY(keep(node->src[0]));
      KVS_TRY(keep(node->src[1]));
      break;
    case GGML_OP_NORM:
    case GGML_OP_RMS_NORM:
    case GGML_OP_UNARY:
      KVS_TRY(keep(node->src[0]));
      break;
    case GGML_OP_GLU:
      if (node->src[1] == nullptr) return unknown_derivative(node, "both halves in one tensor");
      KVS_TRY(keep(node->src[0]));
      KVS_TRY(keep(node->src[1]));
      break;
    case GGML_OP_GET_ROWS:
    case GGML_OP_SET_ROWS: {
      if (node->op == GGML_OP_GET_ROWS && !depends(node->src[0])) return {};
      KVS_ASSIGN(r.rows, rows_of(node->src[1]));
      break;
    }
    case GGML_OP_FLASH_ATTN_EXT: {
      if (float_param(node, 1) != 0) return unknown_derivative(node, "biased by distance");
      if (node->src[3] == nullptr || node->src[4] != nullptr) {
        return unknown_derivative(node, "other masks");
      }
      for (int i = 0; i < 3; ++i) KVS_TRY(keep(node->src[i]));
      if (!masks_.contains(node->src[3])) {
        KVS_ASSIGN(masks_[node->src[3]], values_of(node->src[3]));
      }
      break;
    }
    default:
      return unknown_derivative(node, "no rule");
  }
  if (node->view_src != nullptr && node->op != GGML_OP_SET_ROWS) {
    return unknown_derivative(node, "in place");
  }
  records_.push_back(std::move(r));
  return {};
}

void Tape::add(ggml_tensor* t, std::span<const float> gradient) {
  if (!depends(t)) return;
  const ggml_tensor* base = base_of(t);
  Values& whole = gradients_[base];
  whole.resize(count(base));
  const size_t unit = ggml_type_size(base->type), first = t->view_src ? t->view_offs : 0;
  if (ggml_is_contiguous(t)) {
    float* to = &whole[first / unit];
    for (size_t i = 0; i < gradient.size(); ++i) to[i] += gradient[i];
    return;
  }
  for_elements(t, [&](size_t i, size_t at) { whole[(first + at) / unit] += gradient[i]; });
}

Result<> Tape::walk_back(std::span<const float> gradient, const Stored& stored) {
  KVS_TRY(outcome_);
  if (records_.empty() || count(records_.back().node) != gradient.size()) {
    return Error{ErrorKind::unsupported, "the last node of the graph is not the prediction"};
  }
  KVS_TRY(step_back(records_.back(), gradient));
  for (records_.pop_back(); !records_.empty(); records_.pop_back()) {
    const Record& r = records_.back();
    if (r.node->op == GGML_OP_SET_ROWS) {
      KVS_TRY(through_store(r, stored));
      continue;
    }
    const auto found = gradients_.find(r.node);
    if (found == gradients_.end()) continue;
    const Values dy = std::move(found->second);
    gradients_.erase(found);
    KVS_TRY(step_back(r, dy));
  }
  return {};
}

Result<> Tape::step_back(const Record& r, std::span<const float> dy) {
  switch (r.node->op) {
    case GGML_OP_ADD:
      return through_sum(r.node, dy);
    case GGML_OP_CONT:
      add(r.node->src[0], dy);
      return {};
    case GGML_OP_SCALE:
      add(r.node->src[0], scaled(dy, float_param(r.node, 0)));
      return {};
    case GGML_OP_MUL:
      return through_product(r, dy);
    case GGML_OP_MUL_MAT:
      return through_weights(r.node, dy);
    case GGML_OP_NORM:
    case GGML_OP_RMS_NORM:
      through_norm(r, dy);
      return {};
    case GGML_OP_UNARY:
    case GGML_OP_GLU:
      return through_activation(r, dy);
    case GGML_OP_ROPE:
      return through_rotation(r.node, dy);
    case GGML_OP_GET_ROWS:
      return through_choice(r, dy);
    case GGML_OP_FLASH_ATTN_EXT:
      return through_attention(r, dy);
    default:
      return unknown_derivative(r.node, "no rule");
  }
}

Result<> Tape::through_sum(const ggml_tensor* node, std::span<const float> dy) {
  for (int i = 0; i < 2; ++i) {
    if (!depends(node->src[i])) continue;
    if (count(node->src[i]) != dy.size()) return unknown_derivative(node, "repeats an activation");
    add(node->src[i], dy);
  }
  return {};
}

void Tape::through_norm(const Record& r, std::span<const float> dy) {
  Values dx(dy.size());
  norm_back(r.values[0], size_t(r.node->ne[0]), float_param(r.node, 0), r.node->op == GGML_OP_NORM,
            dy, dx);
  add(r.node->src[0], dx);
}

// f(x), or f(gate) up.
Result<> Tape::through_activation(const Record& r, std::span<const float> dy) {
  KVS_ASSIGN(const Activation f, activation_of(r.node));
  const bool gated = r.values.size() == 2;
  Values dx = copied(dy), dup = gated ? dx : Values();
  parallel_chunks(dy.size(), 1 << 16, [&](size_t first, size_t n) {
    for (size_t i = first; i < first + n; ++i) {
      const Slope s = activate(f, r.values[0][i]);
      dx[i] *= gated ? s.dy * r.values[1][i] : s.dy;
      if (gated) dup[i] *= s.y;
    }
  });
  add(r.node->src[0], dx);
  if (gated) add(r.node->src[1], dup);
  return {};
}

// Some rows of x, perhaps more than once.
Result<> Tape::through_choice(const Record& r, std::span<const float> dy) {
  ggml_tensor* x = r.node->src[0];
  const auto width = static_cast<size_t>(x->ne[0]);
  Values dx(count(x));
  for (size_t i = 0; i < r.rows.size(); ++i) {
    for (size_t c = 0; c < width; ++c) dx[size_t(r.rows[i]) * width + c] += dy[i * width + c];
  }
  add(x, dx);
  return {};
}

// The second factor may be one for all rows or a number for each.
Result<> Tape::through_product(const Record& r, std::span<const float> dy) {
  ggml_tensor *a = r.node->src[0], *b = r.node->src[1];
  const Values& factor = r.values.back();
  const auto width = static_cast<size_t>(a->ne[0]);
  const bool of_rows = b->ne[0] == 1 && width > 1;
  if (of_rows ? factor.size() * width != dy.size()
              : factor.size() != dy.size() && factor.size() != width) {
    return unknown_derivative(r.node, "repeats its second factor in another way");
  }
  if (depends(a)) {
    Values da = copied(dy);
    for (size_t i = 0; i < da.size(); ++i) da[i] *= factor[of_rows ? i / width : i % factor.size()];
    add(a, da);
  }
  if (!depends(b)) return {};
  if (count(b) != dy.size()) return unknown_derivative(r.node, "repeats an activation");
  Values db = copied(dy);
  for (size_t i = 0; i < db.size(); ++i) db[i] *= r.values[0][i];
  add(b, db);
  return {};
}

// y [n x out] = x [n x in] W^T, W: [out x in]; some rows of W at a time, since a vocabulary has
// many.
Result<> Tape::through_weights(const ggml_tensor* node, std::span<const float> dy) {
  constexpr size_t kRows = 8192;
  ggml_tensor* x = node->src[1];
  if (!depends(x)) return {};
  KVS_ASSIGN(const Weights weights, Weights::find(files_, node->src[0]->name));
  const auto in = static_cast<size_t>(x->ne[0]), out = static_cast<size_t>(node->ne[0]);
  if (weights.rows() != out || weights.cols() != in) {
    return unknown_derivative(node, "weights of a view");
  }
  const size_t n = dy.size() / out;
  const MatrixView<const float> from(dy.data(), n, out);
  Values dx(n * in);
  Matrix<float> some(std::min(kRows, out), in);
  for (size_t first = 0; first < out; first += kRows) {
    const auto part = some.view().row_range(0, std::min(kRows, out - first));
    KVS_TRY(weights.read(first, part));
    gemm(Trans::no, Trans::no, 1.f, from.col_range(first, part.rows), part, 1.f,
         MatrixView<float>(dx.data(), n, in));
  }
  add(x, dx);
  return {};
}

// [head dim, heads, tokens]
Result<> Tape::through_rotation(const ggml_tensor* node, std::span<const float> dy) {
  KVS_ASSIGN(const Rope rope, rope_of(node));
  const auto n = static_cast<size_t>(node->ne[2]);
  Values dx = copied(dy);
  rotate_back(rope, static_cast<int>(node->ne[0]), {dx.data(), n, dx.size() / n});
  add(node->src[0], dx);
  return {};
}

Result<> Tape::through_attention(const Record& r, std::span<const float> dy) {
  ggml_tensor *q = r.node->src[0], *k = r.node->src[1], *v = r.node->src[2];
  const auto n = size_t(q->ne[1]), m = size_t(k->ne[1]), d = size_t(k->ne[0]), e = size_t(v->ne[0]);
  const auto heads = size_t(q->ne[2]), kv_heads = size_t(k->ne[2]), group = heads / kv_heads;
  const Values& mask = masks_.at(r.node->src[3]);
  if (mask.size() < n * m) return unknown_derivative(r.node, "a mask of another shape");
  const float cap = float_param(r.node, 2);
  Values dq(r.values[0].size()), dk(r.values[1].size()), dv(r.values[2].size());
  parallel_for(kv_heads, [&](size_t kv) {
    for (size_t h = kv * group; h < (kv + 1) * group; ++h) {
      const Head head{{&r.values[0][h * n * d], n, d},  {&r.values[1][kv * m * d], m, d},
                      {&r.values[2][kv * m * e], m, e}, {mask.data(), n, m},
                      float_param(r.node, 0),           cap};
      const MatrixView<const float> from(&dy[h * e], n, e, heads * e);
      const HeadGradient g = attention_back(head, from);
      std::copy(g.q.flat().begin(), g.q.flat().end(), &dq[h * n * d]);
      for (size_t i = 0; i < g.k.size(); ++i) dk[kv * m * d + i] += g.k.flat()[i];
      for (size_t i = 0; i < g.v.size(); ++i) dv[kv * m * e + i] += g.v.flat()[i];
    }
  });
  add(q, dq);
  add(k, dk);
  add(v, dv);
  return {};
}

Result<> Tape::through_store(const Record& r, const Stored& stored) {
  const ggml_tensor* cache = base_of(r.node);
  ggml_tensor* rows = r.node->src[0];
  const auto found = gradients_.find(cache);
  if (found == gradients_.end()) return {};
  const auto width = static_cast<size_t>(rows->ne[0]);
  const size_t n = r.rows.size();
  Matrix<float> gradient(n, width);
  for (size_t i = 0; i < n; ++i) {
    std::copy_n(&found->second[size_t(r.rows[i]) * width], width, gradient.row(i).begin());
  }
  gradients_.erase(found);
  const auto key_layer = key_cache_layer(r.node), value_layer = value_cache_layer(r.node);
  if (!key_layer && !value_layer) return unknown_derivative(r.node, "stores something else");
  KVS_TRY(
      stored(key_layer ? Kind::key : Kind::value, key_layer ? *key_layer : *value_layer, gradient));
  add(rows, gradient.flat());
  return {};
}

}  // namespace kvsplice::host
