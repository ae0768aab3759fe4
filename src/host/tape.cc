#include "host/tape.h"

#include <algorithm>

#include "host/node_hook.h"
#include "host/tensor_values.h"

namespace kvsplice::host {

namespace {

// llama.cpp's graphs hold what other inputs would need, too, such as rows beside tokens.
bool is_left_out(const ggml_tensor* node) { return (node->flags & GGML_TENSOR_FLAG_COMPUTE) == 0; }

bool only_looks(const ggml_tensor* node) {
  return node->op == GGML_OP_VIEW || node->op == GGML_OP_RESHAPE || node->op == GGML_OP_PERMUTE ||
         node->op == GGML_OP_TRANSPOSE;
}

bool is_cache(ggml_tensor* t) { return key_cache_layer(t) || value_cache_layer(t); }

ggml_tensor* base_of(ggml_tensor* t) { return t->view_src ? t->view_src : t; }

// Whether no node computes it: of what is no cache, a weight.
bool is_given(ggml_tensor* t) { return base_of(t)->op == GGML_OP_NONE && !is_cache(t); }

}  // namespace

size_t Tape::bytes() const {
  size_t bytes = 0;
  for (const Record& record : records_) {
    for (const auto& values : record.values) bytes += values.size() * sizeof(float);
    bytes += record.rows.size() * sizeof(int64_t);
  }
  return bytes;
}

bool Tape::depends(ggml_tensor* t) const { return dependent_.contains(base_of(t)) || is_cache(t); }

bool Tape::is_constant(ggml_tensor* node) const {
  if (node->type == GGML_TYPE_I32 || node->type == GGML_TYPE_I64) return true;
  return !depends(node) && std::none_of(node->src, node->src + GGML_MAX_SRC,
                                        [&](ggml_tensor* t) { return t != nullptr && depends(t); });
}

void Tape::record(ggml_tensor* node) {
  if (is_left_out(node) || only_looks(node) || is_constant(node)) return;
  Record r{node, {}, {}, {}};
  r.known = keep_sources(r);
  dependent_.insert(base_of(node));
  records_.push_back(std::move(r));
}

Result<> Tape::keep(Record& r, std::initializer_list<int> sources) {
  for (const int i : sources) {
    KVS_ASSIGN(Values values, values_of(r.node->src[i]));
    r.values.resize(std::max(r.values.size(), size_t(i) + 1));
    r.values[size_t(i)] = std::move(values);
  }
  return {};
}

// What the derivative needs; an error if there is none here.
Result<> Tape::keep_sources(Record& r) {
  ggml_tensor *node = r.node, *const *src = node->src;
  if (node->op == GGML_OP_SET_ROWS && is_cache(node)) {
    KVS_ASSIGN(r.rows, rows_of(src[1]));
    return {};
  }
  if (node->view_src != nullptr) return unknown_derivative(node, "in place");
  switch (node->op) {
    case GGML_OP_ADD:
    case GGML_OP_SUB:
    case GGML_OP_MEAN:
    case GGML_OP_SCALE:
    case GGML_OP_CONT:
    case GGML_OP_ROPE:
    case GGML_OP_SUM_ROWS:
    case GGML_OP_CONCAT:
    case GGML_OP_REPEAT:
      return {};
    case GGML_OP_ADD_ID:
      if (depends(src[1])) return unknown_derivative(node, "of two activations");
      return {};
    case GGML_OP_MUL_MAT:
      return keep_product(r);
    case GGML_OP_MUL_MAT_ID: {
      KVS_ASSIGN(r.rows, rows_of(src[2]));
      return {};
    }
    case GGML_OP_MUL:
      if (depends(src[1])) KVS_TRY(keep(r, {0}));
      return depends(src[0]) ? keep(r, {1}) : Result<>();
    case GGML_OP_DIV:
      return keep(r, {0, 1});
    case GGML_OP_DSV4_HC_PRE:
      if (int_param(node, 1) != 0) return unknown_derivative(node, "gated");
      return keep(r, {0, 1});
    case GGML_OP_SOFT_MAX:
      if (src[1] != nullptr || src[2] != nullptr || float_param(node, 1) != 0) {
        return unknown_derivative(node, "of attention");
      }
      return keep(r, {0});
    case GGML_OP_NORM:
    case GGML_OP_RMS_NORM:
    case GGML_OP_L2_NORM:
    case GGML_OP_UNARY:
    case GGML_OP_SQR:
    case GGML_OP_SQRT:
    case GGML_OP_CLAMP:
      return keep(r, {0});
    case GGML_OP_GLU:
      KVS_TRY(keep(r, {0}));
      return src[1] != nullptr ? keep(r, {1}) : Result<>();
    case GGML_OP_GET_ROWS: {
      KVS_ASSIGN(r.rows, rows_of(src[1]));
      // Rows are counted within planes, one for each list of rows.
      for (size_t i = 0; i < r.rows.size(); ++i)
        r.rows[i] += int64_t(i) / src[1]->ne[0] * src[0]->ne[1];
      return {};
    }
    case GGML_OP_FLASH_ATTN_EXT:
      return keep_attention(r);
    case GGML_OP_SSM_CONV:
      if (!is_given(src[1])) return unknown_derivative(node, "of two activations");
      return src[0]->ne[2] == 1 ? Result<>() : unknown_derivative(node, "of several sequences");
    case GGML_OP_SSM_SCAN:
      if (!is_given(src[3])) return unknown_derivative(node, "decays that are computed");
      KVS_TRY(keep(r, {1, 2, 4, 5}));
      return keep_start(r, 0, src[1]->ne[3]);
    case GGML_OP_GATED_DELTA_NET:
      if (src[0]->ne[1] != src[1]->ne[1])
        return unknown_derivative(node, "other keys than queries");
      KVS_TRY(keep(r, {0, 1, 2, 3, 4}));
      return keep_start(r, 5, src[2]->ne[3]);
    default:
      return unknown_derivative(node, "no rule");
  }
}

// With weights, whose values need not be kept; or of two activations, of which one may be constant.
Result<> Tape::keep_product(Record& r) {
  ggml_tensor *a = r.node->src[0], *b = r.node->src[1];
  if (is_given(a)) return {};
  if (depends(a)) KVS_TRY(keep(r, {1}));
  return depends(b) ? keep(r, {0}) : Result<>();
}

// Of a recurrence: what it starts from. That is zeros in a new sequence, which need no memory.
Result<> Tape::keep_start(Record& r, int source, int64_t sequences) {
  const ggml_tensor* start = r.node->src[source];
  if (sequences != 1 || int_param(r.node, 0) != 1) {
    return unknown_derivative(r.node, "of several sequences or states");
  }
  if (depends(r.node->src[source])) return unknown_derivative(r.node, "a state that is computed");
  if (count(start) != size_t(start->ne[0] * start->ne[1] * start->ne[2])) {
    return unknown_derivative(r.node, "states of several sequences");
  }
  KVS_TRY(keep(r, {source}));
  Values& values = r.values[size_t(source)];
  if (std::all_of(values.begin(), values.end(), [](float v) { return v == 0; }))
    Values().swap(values);
  return {};
}

Result<> Tape::keep_attention(Record& r) {
  ggml_tensor *mask = r.node->src[3], *sinks = r.node->src[4];
  if (mask == nullptr) return unknown_derivative(r.node, "without a mask");
  if (sinks != nullptr) {
    if (depends(sinks)) return unknown_derivative(r.node, "sinks that are computed");
    KVS_TRY(keep(r, {4}));
  }
  if (!masks_.contains(mask)) {
    KVS_ASSIGN(Values values, values_of(mask));
    masks_.emplace(mask, std::move(values));
  }
  return keep(r, {0, 1, 2});
}

void Tape::add(ggml_tensor* t, std::span<const float> gradient) {
  if (!depends(t)) return;
  ggml_tensor* base = base_of(t);
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

Result<> Tape::walk_back(std::span<const float> gradient, const Stored& stored, size_t earlier) {
  if (records_.empty() || count(records_.back().node) != gradient.size()) {
    return Error{ErrorKind::unsupported, "the last node of the graph is not the prediction"};
  }
  earlier_ = earlier;
  KVS_TRY(step_back(records_.back(), gradient));
  for (records_.pop_back(); !records_.empty(); records_.pop_back()) {
    const Record& r = records_.back();
    const auto found = gradients_.find(base_of(r.node));
    if (found == gradients_.end()) continue;
    const Values dy = std::move(found->second);
    gradients_.erase(found);
    KVS_TRY(is_cache(r.node) ? through_store(r, dy, stored) : step_back(r, dy));
  }
  return {};
}

Result<> Tape::through_store(const Record& r, std::span<const float> dy, const Stored& stored) {
  KVS_TRY(r.known);
  ggml_tensor* rows = r.node->src[0];
  const auto width = static_cast<size_t>(rows->ne[0]);
  Matrix<float> gradient(r.rows.size(), width);
  for (size_t i = 0; i < r.rows.size(); ++i) {
    std::copy_n(&dy[size_t(r.rows[i]) * width], width, gradient.row(i).begin());
  }
  MatrixView<const float> shown = gradient;
  if (earlier_ > 0) shown = {dy.data(), earlier_, width, width};
  const auto layer = key_cache_layer(r.node);
  KVS_TRY(layer ? stored(Kind::key, *layer, shown)
                : stored(Kind::value, *value_cache_layer(r.node), shown));
  add(rows, gradient.flat());
  return {};
}

}  // namespace kvsplice::host
