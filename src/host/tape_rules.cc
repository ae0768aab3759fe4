// The rules of Tape: what a node's gradient adds to those of its sources.
#include <algorithm>

#include "core/threads.h"
#include "host/derivatives.h"
#include "host/recurrences.h"
#include "host/rope_table.h"
#include "host/tape.h"
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

using Gate = std::function<GateSlope(float gate, float up)>;

Result<Activation> activation_of(const ggml_tensor* node) {
  if (node->op == GGML_OP_SQR) return Activation::square;
  if (node->op == GGML_OP_SQRT) return Activation::root;
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
    case GGML_UNARY_OP_SIGMOID:
      return Activation::sigmoid;
    case GGML_UNARY_OP_SOFTPLUS:
      return Activation::softplus;
    case GGML_UNARY_OP_EXP:
      return Activation::exp;
    default:
      return unknown_derivative(node, "another function");
  }
}

// The derivative of an activation at x.
Result<std::function<float(float x)>> slope_of(const ggml_tensor* node) {
  if (node->op == GGML_OP_UNARY && ggml_get_unary_op(node) == GGML_UNARY_OP_XIELU) {
    const float negative = float_param(node, 1), positive = float_param(node, 2);
    const float linear = float_param(node, 3), most = float_param(node, 4);
    return std::function([=](float x) { return xielu_slope(negative, positive, linear, most, x); });
  }
  KVS_ASSIGN(const Activation f, activation_of(node));
  return std::function([f](float x) { return activate(f, x).dy; });
}

Result<Gate> gate_of(const ggml_tensor* node) {
  const ggml_glu_op op = ggml_get_glu_op(node);
  if (op == GGML_GLU_OP_SWIGLU_OAI || op == GGML_GLU_OP_SWIGLU_CLAMP) {
    const bool oai = op == GGML_GLU_OP_SWIGLU_OAI;
    const float steepness = oai ? float_param(node, 2) : 1, limit = float_param(node, 3);
    return Gate([=](float gate, float up) {
      return limited_gate_slope(steepness, limit, oai ? 1 : 0, gate, up);
    });
  }
  KVS_ASSIGN(const Activation f, activation_of(node));
  return Gate([=](float gate, float up) { return gate_slope(f, gate, up); });
}

// Where gates and what they let through stand: in two tensors, or side by side in rows of one.
struct GatePlaces {
  explicit GatePlaces(const ggml_tensor* node) : width(size_t(node->ne[0])) {
    if (node->src[1] != nullptr) return;
    stride = 2;
    (int_param(node, 1) != 0 ? gate : up) = width;
  }
  size_t of(size_t i, size_t first) const { return i / width * stride * width + first + i % width; }

  size_t width, stride = 1, gate = 0, up = 0;
};

// to [n x in] += from [n x some] W, W: rows first ... of the weights; some rows at a time, since a
// vocabulary has many.
Result<> add_times(MatrixView<const float> from, const Weights& weights, size_t first,
                   MatrixView<float> to) {
  constexpr size_t kRows = 8192;
  Matrix<float> some(std::min(kRows, from.cols), to.cols);
  for (size_t at = 0; at < from.cols; at += kRows) {
    const auto part = some.view().row_range(0, std::min(kRows, from.cols - at));
    KVS_TRY(weights.read(first + at, part));
    gemm(Trans::no, Trans::no, 1.f, from.col_range(at, part.rows), part, 1.f, to);
  }
  return {};
}

}  // namespace

Result<> Tape::step_back(const Record& r, std::span<const float> dy) {
  KVS_TRY(r.known);
  switch (r.node->op) {
    case GGML_OP_ADD:
      through_sum(r.node, dy);
      return {};
    case GGML_OP_SUB:
      through_difference(r.node, dy);
      return {};
    case GGML_OP_ADD_ID:  // the biases of experts are weights
    case GGML_OP_CONT:
      add(r.node->src[0], dy);
      return {};
    case GGML_OP_SCALE:
      add(r.node->src[0], scaled(dy, float_param(r.node, 0)));
      return {};
    case GGML_OP_MUL:
      through_product(r, dy);
      return {};
    case GGML_OP_DIV:
      through_quotient(r, dy);
      return {};
    case GGML_OP_SUM_ROWS:
      through_row_sums(r.node, 1, dy);
      return {};
    case GGML_OP_MEAN:
      through_row_sums(r.node, 1 / float(r.node->src[0]->ne[0]), dy);
      return {};
    case GGML_OP_CONCAT:
      through_joint(r.node, dy);
      return {};
    case GGML_OP_REPEAT:
      through_copies(r.node, dy);
      return {};
    case GGML_OP_MUL_MAT:
      if (r.values.empty()) return through_weights(r.node, dy);
      through_activations(r, dy);
      return {};
    case GGML_OP_MUL_MAT_ID:
      return through_experts(r, dy);
    case GGML_OP_NORM:
    case GGML_OP_RMS_NORM:
      through_norm(r, dy);
      return {};
    case GGML_OP_L2_NORM:
      through_length(r, dy);
      return {};
    case GGML_OP_SOFT_MAX:
      through_softmax(r, dy);
      return {};
    case GGML_OP_DSV4_HC_PRE:
      through_mixture(r, dy);
      return {};
    case GGML_OP_CLAMP:
      through_clamp(r, dy);
      return {};
    case GGML_OP_UNARY:
    case GGML_OP_SQR:
    case GGML_OP_SQRT:
      return through_activation(r, dy);
    case GGML_OP_GLU:
      return through_gate(r, dy);
    case GGML_OP_ROPE:
      return through_rotation(r.node, dy);
    case GGML_OP_GET_ROWS:
      through_choice(r, dy);
      return {};
    case GGML_OP_FLASH_ATTN_EXT:
      return through_attention(r, dy);
    case GGML_OP_SSM_CONV:
      return through_convolution(r.node, dy);
    case GGML_OP_SSM_SCAN:
      return through_scan(r, dy);
    case GGML_OP_GATED_DELTA_NET:
      through_delta_rule(r, dy);
      return {};
    default:
      return unknown_derivative(r.node, "no rule");
  }
}

// The second may be repeated, as in a product.
void Tape::through_sum(const ggml_tensor* node, std::span<const float> dy) {
  ggml_tensor *a = node->src[0], *b = node->src[1];
  add(a, dy);
  if (!depends(b)) return;
  if (count(b) == dy.size()) return add(b, dy);
  add(b, sum_repeats(dy, sizes_of(a), sizes_of(b)));
}

void Tape::through_difference(const ggml_tensor* node, std::span<const float> dy) {
  ggml_tensor *a = node->src[0], *b = node->src[1];
  add(a, dy);
  if (depends(b)) add(b, scaled(sum_repeats(dy, sizes_of(a), sizes_of(b)), -1));
}

void Tape::through_product(const Record& r, std::span<const float> dy) {
  ggml_tensor *a = r.node->src[0], *b = r.node->src[1];
  if (depends(a)) {
    Values da(dy.size());
    for_repeats(sizes_of(a), sizes_of(b),
                [&](size_t i, size_t j) { da[i] = dy[i] * r.values[1][j]; });
    add(a, da);
  }
  if (!depends(b)) return;
  Values db = copied(dy);
  for (size_t i = 0; i < db.size(); ++i) db[i] *= r.values[0][i];
  if (count(b) == db.size()) return add(b, db);
  add(b, sum_repeats(db, sizes_of(a), sizes_of(b)));
}

void Tape::through_quotient(const Record& r, std::span<const float> dy) {
  ggml_tensor *a = r.node->src[0], *b = r.node->src[1];
  const Quotient d = quotient_back(r.values[0], sizes_of(a), r.values[1], sizes_of(b), dy);
  add(a, d.a);
  add(b, d.b);
}

void Tape::through_row_sums(const ggml_tensor* node, float factor, std::span<const float> dy) {
  ggml_tensor* x = node->src[0];
  const auto width = static_cast<size_t>(x->ne[0]);
  Values dx(count(x));
  for (size_t i = 0; i < dx.size(); ++i) dx[i] = factor * dy[i / width];
  add(x, dx);
}

void Tape::through_joint(const ggml_tensor* node, std::span<const float> dy) {
  const auto dimension = static_cast<size_t>(int_param(node, 0));
  size_t first = 0;
  for (ggml_tensor* x : {node->src[0], node->src[1]}) {
    const auto n = static_cast<size_t>(x->ne[dimension]);
    add(x, cut(dy, sizes_of(node), dimension, first, n));
    first += n;
  }
}

void Tape::through_copies(const ggml_tensor* node, std::span<const float> dy) {
  ggml_tensor* x = node->src[0];
  add(x, sum_repeats(dy, sizes_of(node), sizes_of(x)));
}

void Tape::through_norm(const Record& r, std::span<const float> dy) {
  Values dx(dy.size());
  norm_back(r.values[0], size_t(r.node->ne[0]), float_param(r.node, 0), r.node->op == GGML_OP_NORM,
            dy, dx);
  add(r.node->src[0], dx);
}

void Tape::through_length(const Record& r, std::span<const float> dy) {
  Values dx(dy.size());
  length_back(r.values[0], size_t(r.node->ne[0]), float_param(r.node, 0), dy, dx);
  add(r.node->src[0], dx);
}

void Tape::through_softmax(const Record& r, std::span<const float> dy) {
  Values dx(dy.size());
  softmax_back(r.values[0], size_t(r.node->ne[0]), float_param(r.node, 0), dy, dx);
  add(r.node->src[0], dx);
}

// y [tokens x width] = scale * sum of x [tokens x streams x width] by weights [tokens x streams].
void Tape::through_mixture(const Record& r, std::span<const float> dy) {
  ggml_tensor *x = r.node->src[0], *weights = r.node->src[1];
  const float scale = float_param(r.node, 0);
  const size_t width = size_t(x->ne[0]), streams = size_t(x->ne[1]);
  Values dx(count(x)), dw(count(weights));
  for (size_t i = 0; i < dw.size(); ++i) {
    const float* from = &dy[i / streams * width];
    const float* row = &r.values[0][i * width];
    for (size_t c = 0; c < width; ++c) {
      dx[i * width + c] = scale * r.values[1][i] * from[c];
      dw[i] += scale * row[c] * from[c];
    }
  }
  add(x, dx);
  add(weights, dw);
}

void Tape::through_clamp(const Record& r, std::span<const float> dy) {
  const float least = float_param(r.node, 0), most = float_param(r.node, 1);
  Values dx = copied(dy);
  for (size_t i = 0; i < dx.size(); ++i) {
    if (r.values[0][i] <= least || r.values[0][i] >= most) dx[i] = 0;
  }
  add(r.node->src[0], dx);
}

Result<> Tape::through_activation(const Record& r, std::span<const float> dy) {
  KVS_ASSIGN(const auto slope, slope_of(r.node));
  Values dx = copied(dy);
  parallel_chunks(dy.size(), 1 << 16, [&](size_t first, size_t n) {
    for (size_t i = first; i < first + n; ++i) dx[i] *= slope(r.values[0][i]);
  });
  add(r.node->src[0], dx);
  return {};
}

Result<> Tape::through_gate(const Record& r, std::span<const float> dy) {
  KVS_ASSIGN(const Gate slope, gate_of(r.node));
  const GatePlaces at(r.node);
  const bool apart = r.node->src[1] != nullptr;
  const Values &gates = r.values.front(), &ups = r.values.back();
  Values first_dx(gates.size()), second_dx(apart ? ups.size() : 0);
  Values &dgate = first_dx, &dup = apart ? second_dx : first_dx;
  parallel_chunks(dy.size(), 1 << 16, [&](size_t first, size_t n) {
    for (size_t i = first; i < first + n; ++i) {
      const size_t gate = at.of(i, at.gate), up = at.of(i, at.up);
      const GateSlope s = slope(gates[gate], ups[up]);
      dgate[gate] = dy[i] * s.gate;
      dup[up] = dy[i] * s.up;
    }
  });
  add(r.node->src[0], first_dx);
  if (apart) add(r.node->src[1], second_dx);
  return {};
}

// Some rows of x, perhaps more than once.
void Tape::through_choice(const Record& r, std::span<const float> dy) {
  ggml_tensor* x = r.node->src[0];
  const auto width = static_cast<size_t>(x->ne[0]);
  Values dx(count(x));
  for (size_t i = 0; i < r.rows.size(); ++i) {
    for (size_t c = 0; c < width; ++c) dx[size_t(r.rows[i]) * width + c] += dy[i * width + c];
  }
  add(x, dx);
}

// y [n x out] = x [n x in] W^T, W: [out x in]; or, of several W one behind the other, each for
// some planes of x and y, which are [planes x n x ...].
Result<> Tape::through_weights(const ggml_tensor* node, std::span<const float> dy) {
  const ggml_tensor* w = node->src[0];
  ggml_tensor* x = node->src[1];
  KVS_ASSIGN(const Weights weights, Weights::find(files_, w->name));
  const auto in = static_cast<size_t>(x->ne[0]), out = static_cast<size_t>(node->ne[0]);
  const auto several = static_cast<size_t>(w->ne[2]), heads = static_cast<size_t>(x->ne[2]);
  if (weights.rows() != out * several || weights.cols() != in || w->ne[3] != 1) {
    return unknown_derivative(node, "weights of a view");
  }
  Values dx(dy.size() / out * in);
  const size_t n = several == 1 ? dy.size() / out : static_cast<size_t>(x->ne[1]);
  for (size_t plane = 0; plane * n * out < dy.size(); ++plane) {
    const size_t first = several == 1 ? 0 : plane % heads * several / heads * out;
    KVS_TRY(
        add_times({&dy[plane * n * out], n, out}, weights, first, {&dx[plane * n * in], n, in}));
  }
  add(x, dx);
  return {};
}

// y [planes x n x out] = b [planes x n x in] a^T, a: [out x in] of fewer planes, each for several
// of b.
void Tape::through_activations(const Record& r, std::span<const float> dy) {
  ggml_tensor *a = r.node->src[0], *b = r.node->src[1];
  const auto in = size_t(a->ne[0]), out = size_t(a->ne[1]), n = size_t(b->ne[1]);
  const Sizes whole = sizes_of(b), part = sizes_of(a);
  const size_t planes = whole[2] * whole[3];
  Values da(depends(a) ? count(a) : 0), db(depends(b) ? count(b) : 0);
  for (size_t plane = 0; plane < planes; ++plane) {
    const size_t i2 = plane % whole[2] * part[2] / whole[2],
                 i3 = plane / whole[2] * part[3] / whole[3];
    const size_t of_a = (i3 * part[2] + i2) * out * in, of_b = plane * n * in;
    const MatrixView<const float> from(&dy[plane * n * out], n, out);
    if (!db.empty()) {
      gemm(Trans::no, Trans::no, 1.f, from, MatrixView<const float>(&r.values[0][of_a], out, in),
           0.f, {&db[of_b], n, in});
    }
    if (!da.empty()) {
      gemm(Trans::yes, Trans::no, 1.f, from, MatrixView<const float>(&r.values[1][of_b], n, in),
           1.f, {&da[of_a], out, in});
    }
  }
  if (!da.empty()) add(a, da);
  if (!db.empty()) add(b, db);
}

// The kernel is a weight, and still there.
Result<> Tape::through_convolution(const ggml_tensor* node, std::span<const float> dy) {
  KVS_ASSIGN(const Values kernel, values_of(node->src[1]));
  add(node->src[0], convolution_back(kernel, size_t(node->src[1]->ne[0]), size_t(node->ne[1]), dy));
  return {};
}

// The result holds y and, behind it, the state behind the last token.
Result<> Tape::through_scan(const Record& r, std::span<const float> dy) {
  ggml_tensor *const *src = r.node->src, *x = src[1];
  KVS_ASSIGN(const Values decays, values_of(src[3]));
  const Scan scan{size_t(x->ne[2]),
                  size_t(x->ne[1]),
                  size_t(src[4]->ne[1]),
                  size_t(x->ne[0]),
                  size_t(src[0]->ne[0]),
                  r.values[1],
                  r.values[2],
                  decays,
                  r.values[4],
                  r.values[5],
                  r.values[0]};
  const ScanGradient g = scan_back(scan, dy.first(count(x)), dy.subspan(count(x)));
  add(x, g.x);
  add(src[2], g.dt);
  add(src[4], g.b);
  add(src[5], g.c);
  return {};
}

void Tape::through_delta_rule(const Record& r, std::span<const float> dy) {
  ggml_tensor *const *src = r.node->src, *v = src[2];
  const DeltaRule rule{size_t(v->ne[2]),
                       size_t(v->ne[1]),
                       size_t(src[0]->ne[1]),
                       size_t(v->ne[0]),
                       size_t(src[3]->ne[0]),
                       r.values[0],
                       r.values[1],
                       r.values[2],
                       r.values[3],
                       r.values[4],
                       r.values[5]};
  const DeltaGradient g = delta_back(rule, dy.first(count(v)), dy.subspan(count(v)));
  add(src[0], g.q);
  add(src[1], g.k);
  add(v, g.v);
  add(src[3], g.gate);
  add(src[4], g.beta);
}

// As through_weights, row by row of y [tokens x chosen x out] with the weights of the expert that
// was chosen; x [tokens x chosen or 1 x in]. Each expert's weights are read once.
Result<> Tape::through_experts(const Record& r, std::span<const float> dy) {
  const ggml_tensor *node = r.node, *experts = node->src[0];
  ggml_tensor* x = node->src[1];
  KVS_ASSIGN(const Weights weights, Weights::find(files_, experts->name));
  const auto in = static_cast<size_t>(x->ne[0]), out = static_cast<size_t>(node->ne[0]);
  if (weights.rows() != out * size_t(experts->ne[2]) || weights.cols() != in) {
    return unknown_derivative(node, "weights of a view");
  }
  const auto chosen = size_t(node->ne[1]), inputs = size_t(x->ne[1]);
  std::map<int64_t, std::vector<size_t>> rows;  // of y, by expert
  for (size_t i = 0; i < r.rows.size(); ++i) rows[r.rows[i]].push_back(i);
  Values dx(count(x));
  for (const auto& [expert, of] : rows) {
    Matrix<float> from(of.size(), out), to(of.size(), in);
    for (size_t i = 0; i < of.size(); ++i) std::copy_n(&dy[of[i] * out], out, from.row(i).begin());
    KVS_TRY(add_times(from, weights, size_t(expert) * out, to));
    for (size_t i = 0; i < of.size(); ++i) {
      float* sum = &dx[(of[i] / chosen * inputs + of[i] % chosen % inputs) * in];
      for (size_t c = 0; c < in; ++c) sum[c] += to(i, c);
    }
  }
  add(x, dx);
  return {};
}

// [head dim, heads, tokens]
Result<> Tape::through_rotation(const ggml_tensor* node, std::span<const float> dy) {
  KVS_ASSIGN(const Rope rope, rope_of(node));
  const auto n = static_cast<size_t>(node->ne[2]);
  Values dx = copied(dy);
  rotate_back(rope, static_cast<int>(node->ne[0]), {dx.data(), n, dx.size() / n}, earlier_);
  add(node->src[0], dx);
  return {};
}

Result<> Tape::through_attention(const Record& r, std::span<const float> dy) {
  ggml_tensor *q = r.node->src[0], *k = r.node->src[1], *v = r.node->src[2];
  const auto n = size_t(q->ne[1]), m = size_t(k->ne[1]), d = size_t(k->ne[0]), e = size_t(v->ne[0]);
  const auto heads = size_t(q->ne[2]), kv_heads = size_t(k->ne[2]), group = heads / kv_heads;
  const Values& mask = masks_.at(r.node->src[3]);
  if (mask.size() < n * m) return unknown_derivative(r.node, "a mask of another shape");
  const float bias = float_param(r.node, 1), cap = float_param(r.node, 2);
  const bool with_sinks = r.node->src[4] != nullptr;
  Values dq(r.values[0].size()), dk(r.values[1].size()), dv(r.values[2].size());
  parallel_for(kv_heads, [&](size_t kv) {
    for (size_t h = kv * group; h < (kv + 1) * group; ++h) {
      const Head head{{&r.values[0][h * n * d], n, d},  {&r.values[1][kv * m * d], m, d},
                      {&r.values[2][kv * m * e], m, e}, {mask.data(), n, m},
                      float_param(r.node, 0),           cap,
                      distance_slope(bias, heads, h),   with_sinks ? r.values[4][h] : -INFINITY};
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

}  // namespace kvsplice::host
