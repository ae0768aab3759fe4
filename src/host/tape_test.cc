// Rules of nodes against differences: one small graph for each, of stored rows and constants.
#include "host/tape.h"

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <memory>

#include "core/random.h"

namespace kvsplice::host {
namespace {

template <auto free>
struct Free {
  void operator()(auto* p) const { free(p); }
};

// A cache of 24 rows of 4 values, in which all are stored, and what is made of it.
class Graph {
 public:
  static constexpr int64_t kWidth = 4, kRows = 24;

  Graph() {
    cache_ = ggml_new_tensor_2d(get(), GGML_TYPE_F32, kWidth, kRows);
    ggml_set_name(cache_, "cache_k_l5");
    rows_ = ggml_new_tensor_2d(get(), GGML_TYPE_F32, kWidth, kRows);
    ids_ = integers({kRows});
    stored_ = ggml_set_rows(get(), cache_, rows_, ids_);
  }

  ggml_context* get() const { return context_.get(); }
  ggml_tensor* rows() const { return stored_; }
  ggml_tensor* rows(int64_t a, int64_t b, int64_t c) const {
    return ggml_reshape_3d(get(), stored_, a, b, c);
  }
  // Constants: row numbers 0, 1, ..., and values about 2.
  ggml_tensor* integers(std::vector<int64_t> sizes) {
    return integers_.emplace_back(
        ggml_new_tensor(get(), GGML_TYPE_I32, int(sizes.size()), sizes.data()));
  }
  ggml_tensor* floats(std::vector<int64_t> sizes) {
    return floats_.emplace_back(
        ggml_new_tensor(get(), GGML_TYPE_F32, int(sizes.size()), sizes.data()));
  }

  void finish(ggml_tensor* result) {
    result_ = result;
    graph_ = ggml_new_graph(get());
    ggml_build_forward_expand(graph_, result);
    buffer_.reset(ggml_backend_alloc_ctx_tensors(get(), cpu_.get()));
    Random random(1);
    for (ggml_tensor* t : floats_) {
      std::vector<float> values(size_t(ggml_nelements(t)));
      for (float& v : values) v = 2 + 0.3f * float(random.normal());
      put(t, values);
    }
    for (ggml_tensor* t : integers_) {
      std::vector<int32_t> values(size_t(ggml_nelements(t)));
      for (size_t i = 0; i < values.size(); ++i) values[i] = int32_t(i % size_t(kRows));
      ggml_backend_tensor_set(t, values.data(), 0, ggml_nbytes(t));
    }
    // Further from one another and from the tenths, where some rules have corners, than steps.
    for (size_t i = 0; i < x_.size(); ++i) x_[i] = 0.05f * (float(i) - 48) + 0.02f;
    for (size_t i = x_.size() - 1; i > 0; --i) std::swap(x_[i], x_[random.below(i + 1)]);
    dy_.resize(size_t(ggml_nelements(result)));
    for (float& v : dy_) v = float(random.normal());
  }

  // Nodes have memory of their own, so that they can be recorded behind the evaluation.
  Result<std::vector<float>> gradient() {
    value(x_);
    const std::vector<GgufSource> no_weights;
    Tape tape(no_weights);
    for (int i = 0; i < ggml_graph_n_nodes(graph_); ++i) tape.record(ggml_graph_node(graph_, i));
    std::vector<float> gradient;
    KVS_TRY(tape.walk_back(dy_, [&](Kind kind, int layer, MatrixView<const float> g) {
      EXPECT_TRUE(kind == Kind::key && layer == 5 && gradient.empty());
      const Matrix<float> rows = copy(g);
      gradient.assign(rows.flat().begin(), rows.flat().end());
      return Result<>();
    }));
    return gradient;
  }

  size_t kept_bytes() {
    value(x_);
    const std::vector<GgufSource> no_weights;
    Tape tape(no_weights);
    for (int i = 0; i < ggml_graph_n_nodes(graph_); ++i) tape.record(ggml_graph_node(graph_, i));
    return tape.bytes();
  }

  void expect_like_differences() {
    const Result<std::vector<float>> got = gradient();
    ASSERT_TRUE(got.ok()) << got.error().message;
    ASSERT_EQ(got.value().size(), x_.size());
    for (size_t i = 0; i < x_.size(); ++i) {
      constexpr float kStep = 0.01f;
      std::vector<float> up = x_, down = x_;
      up[i] += kStep;
      down[i] -= kStep;
      const double difference = (value(up) - value(down)) / (double(up[i]) - down[i]);
      EXPECT_NEAR(got.value()[i], difference, 2e-3 * (1 + std::abs(difference))) << i;
    }
  }

 private:
  static void put(ggml_tensor* t, const std::vector<float>& values) {
    ggml_backend_tensor_set(t, values.data(), 0, ggml_nbytes(t));
  }

  // Of the result, weighed by dy.
  double value(const std::vector<float>& x) {
    put(rows_, x);
    EXPECT_EQ(ggml_backend_graph_compute(cpu_.get(), graph_), GGML_STATUS_SUCCESS);
    std::vector<float> y(dy_.size());
    ggml_backend_tensor_get(result_, y.data(), 0, ggml_nbytes(result_));
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += double(y[i]) * dy_[i];
    return sum;
  }

  std::unique_ptr<ggml_context, Free<ggml_free>> context_{ggml_init({1 << 20, nullptr, true})};
  std::unique_ptr<ggml_backend, Free<ggml_backend_free>> cpu_{ggml_backend_cpu_init()};
  std::unique_ptr<ggml_backend_buffer, Free<ggml_backend_buffer_free>> buffer_;
  ggml_cgraph* graph_ = nullptr;
  ggml_tensor *cache_, *rows_, *ids_, *stored_, *result_ = nullptr;
  std::vector<ggml_tensor*> integers_, floats_;
  std::vector<float> x_ = std::vector<float>(size_t(kWidth * kRows)), dy_;
};

struct Rule {
  const char* name;
  std::function<ggml_tensor*(Graph&, ggml_context*)> make;
};
std::ostream& operator<<(std::ostream& out, const Rule& rule) { return out << rule.name; }

class RuleOf : public ::testing::TestWithParam<Rule> {};

TEST_P(RuleOf, NodeIsWhatDifferencesSay) {
  Graph graph;
  graph.finish(GetParam().make(graph, graph.get()));
  graph.expect_like_differences();
}

// A few rows, all different, and of a size that needs no care in divisions.
ggml_tensor* about_two(Graph& g, ggml_context* c) {
  return ggml_scale_bias(c, ggml_tanh(c, g.rows(1, 4, 24)), 0.5f, 2);
}

// Numbers first ... of the rows, in these sizes.
ggml_tensor* part(Graph& g, ggml_context* c, int64_t first, std::vector<int64_t> sizes) {
  ggml_tensor* all = ggml_reshape_1d(c, g.rows(), 96);
  int64_t n = 1;
  for (const int64_t size : sizes) n *= size;
  sizes.resize(4, 1);
  return ggml_reshape_4d(c, ggml_view_1d(c, all, n, size_t(first) * sizeof(float)), sizes[0],
                         sizes[1], sizes[2], sizes[3]);
}

// Of 8 tokens, 4 heads of 2 rows in 2 groups, and states of 2.
ggml_tensor* scan(Graph& g, ggml_context* c, int64_t decays, float start = 1) {
  ggml_tensor* dt = ggml_reshape_3d(c, ggml_scale_bias(c, part(g, c, 0, {4, 8}), 1, -4), 4, 8, 1);
  ggml_tensor* state = ggml_scale(c, g.floats({2, 2, 4, 1}), start);
  return ggml_ssm_scan(c, state, part(g, c, 32, {2, 4, 8}), dt, g.floats({decays, 4}),
                       part(g, c, 0, {2, 2, 8}), part(g, c, 64, {2, 2, 8}), g.integers({1}), 1);
}

// Of 6 tokens, 2 heads of 2 values that share keys and queries.
ggml_tensor* delta_rule(Graph& g, ggml_context* c, int64_t gates) {
  ggml_tensor* k = ggml_scale(c, part(g, c, 12, {2, 1, 6}), 0.3f);
  ggml_tensor* gate = ggml_scale(c, part(g, c, 48, {gates, 2, 6}), 0.3f);
  ggml_tensor* beta = ggml_sigmoid(c, part(g, c, 72, {1, 2, 6}));
  return ggml_gated_delta_net(c, part(g, c, 0, {2, 1, 6}), k, part(g, c, 24, {2, 2, 6}), gate, beta,
                              g.floats({2, 2, 2, 1}), 1);
}

const Rule kRules[] = {
    {"AddOfARow", [](Graph& g, ggml_context* c) { return ggml_add(c, g.rows(), g.floats({4})); }},
    {"AddRepeated",
     [](Graph& g, ggml_context* c) {
       return ggml_add(c, g.floats({8, 4, 24}), ggml_sqr(c, g.rows(1, 4, 24)));
     }},
    {"SubRepeated",
     [](Graph& g, ggml_context* c) {
       return ggml_sub(c, ggml_sqr(c, g.rows(4, 4, 6)), g.rows(4, 4, 6));
     }},
    {"SubOfRepeated",
     [](Graph& g, ggml_context* c) {
       return ggml_sub(c, g.floats({8, 4, 24}), ggml_sqr(c, g.rows(1, 4, 24)));
     }},
    {"MulByANumber",
     [](Graph& g, ggml_context* c) { return ggml_mul(c, g.rows(), g.floats({1})); }},
    {"MulByPlanes",
     [](Graph& g, ggml_context* c) {
       return ggml_mul(c, g.rows(4, 2, 12), g.floats({1, 1, 12}));
     }},
    {"MulByHeads",
     [](Graph& g, ggml_context* c) {
       return ggml_mul(c, g.rows(4, 2, 12), g.floats({4, 2}));
     }},
    {"MulRepeated",
     [](Graph& g, ggml_context* c) { return ggml_mul(c, g.rows(4, 4, 6), g.rows(4, 4, 6)); }},
    {"MulByRepeated",
     [](Graph& g, ggml_context* c) {
       return ggml_mul(c, g.floats({8, 4, 24}), g.rows(1, 4, 24));
     }},
    {"Div",
     [](Graph& g, ggml_context* c) {
       ggml_tensor* by = ggml_sum_rows(c, ggml_reshape_3d(c, about_two(g, c), 4, 2, 12));
       return ggml_div(c, g.rows(4, 2, 12), by);
     }},
    {"SumRows",
     [](Graph& g, ggml_context* c) { return ggml_sqr(c, ggml_sum_rows(c, g.rows(4, 4, 6))); }},
    {"Mean", [](Graph& g, ggml_context* c) { return ggml_sqr(c, ggml_mean(c, g.rows(4, 4, 6))); }},
    {"Sqrt", [](Graph& g, ggml_context* c) { return ggml_sqrt(c, about_two(g, c)); }},
    {"L2Norm", [](Graph& g, ggml_context* c) { return ggml_l2_norm(c, g.rows(), 1e-6f); }},
    {"L2NormOfShortRows",
     [](Graph& g, ggml_context* c) { return ggml_l2_norm(c, g.rows(2, 4, 12), 9); }},
    {"Xielu",
     [](Graph& g, ggml_context* c) { return ggml_xielu(c, g.rows(), 0.2f, 0.7f, 0.5f, -1e-6f); }},
    {"ProductOfActivations",  // planes of the first stand for two of the second each
     [](Graph& g, ggml_context* c) {
       return ggml_mul_mat(c, ggml_scale(c, part(g, c, 0, {4, 3, 2}), 0.3f),
                           part(g, c, 16, {4, 5, 4}));
     }},
    {"ProductOfTurnedActivations",
     [](Graph& g, ggml_context* c) {
       ggml_tensor* turned = ggml_permute(c, part(g, c, 0, {4, 2, 3}), 0, 2, 1, 3);
       return ggml_mul_mat(c, turned, ggml_permute(c, part(g, c, 24, {4, 2, 5}), 0, 2, 1, 3));
     }},
    {"ProductWithAConstant",
     [](Graph& g, ggml_context* c) {
       return ggml_mul_mat(c, ggml_scale(c, g.floats({4, 3}), 0.3f), g.rows(4, 4, 6));
     }},
    {"SsmConv",
     [](Graph& g, ggml_context* c) {
       return ggml_ssm_conv(c, part(g, c, 0, {8, 12, 1}), g.floats({3, 12}));
     }},
    {"SsmScan", [](Graph& g, ggml_context* c) { return scan(g, c, 1); }},
    {"SsmScanByStates", [](Graph& g, ggml_context* c) { return scan(g, c, 2); }},
    {"GatedDeltaNet", [](Graph& g, ggml_context* c) { return delta_rule(g, c, 1); }},
    {"GatedDeltaNetByColumns", [](Graph& g, ggml_context* c) { return delta_rule(g, c, 2); }},
    {"Clamp", [](Graph& g, ggml_context* c) { return ggml_clamp(c, g.rows(), -0.5f, 0.7f); }},
    {"Softmax",
     [](Graph& g, ggml_context* c) { return ggml_soft_max_ext(c, g.rows(), nullptr, 0.7f, 0); }},
    {"HyperConnection",
     [](Graph& g, ggml_context* c) {
       ggml_tensor* weights = ggml_reshape_2d(c, ggml_sum_rows(c, g.rows()), 6, 4);
       return ggml_dsv4_hc_pre(c, g.rows(4, 6, 4), weights);
     }},
    {"Sigmoid", [](Graph& g, ggml_context* c) { return ggml_sigmoid(c, g.rows()); }},
    {"Softplus", [](Graph& g, ggml_context* c) { return ggml_softplus(c, g.rows()); }},
    {"Exp", [](Graph& g, ggml_context* c) { return ggml_exp(c, g.rows()); }},
    {"ConcatOfWidths",
     [](Graph& g, ggml_context* c) {
       return ggml_concat(c, g.floats({3, 24}), ggml_sqr(c, g.rows()), 0);
     }},
    {"ConcatOfHeads",
     [](Graph& g, ggml_context* c) {
       return ggml_concat(c, g.rows(4, 3, 8), ggml_sqr(c, g.rows(4, 3, 8)), 1);
     }},
    {"Repeat",
     [](Graph& g, ggml_context* c) { return ggml_repeat_4d(c, g.rows(4, 1, 24), 8, 3, 24, 2); }},
    {"RowsOfPlanes",  // the numbers are a part of a wider tensor, as chosen experts are
     [](Graph& g, ggml_context* c) {
       ggml_tensor* wide = g.integers({6, 4});  // 0 ... 23: in planes of 24 rows
       ggml_tensor* ids = ggml_view_2d(c, wide, 2, 4, wide->nb[1], 0);
       return ggml_get_rows(c, g.rows(1, 24, 4), ids);
     }},
    {"HalvesOfATensor", [](Graph& g, ggml_context* c) { return ggml_swiglu(c, g.rows()); }},
    {"HalvesSwapped", [](Graph& g, ggml_context* c) { return ggml_swiglu_swapped(c, g.rows()); }},
    {"HalvesApart",
     [](Graph& g, ggml_context* c) {
       return ggml_reglu_split(c, ggml_scale_bias(c, g.rows(), 1, 9), ggml_sqr(c, g.rows()));
     }},
    {"LimitedGate",
     [](Graph& g, ggml_context* c) {
       return ggml_swiglu_oai(c, g.rows(), ggml_scale(c, g.rows(), 2), 1.702f, 1.2f);
     }},
    {"AddOfExperts",
     [](Graph& g, ggml_context* c) {
       return ggml_add_id(c, g.rows(4, 2, 12), g.floats({4, 24}), g.integers({2, 12}));
     }},
};

INSTANTIATE_TEST_SUITE_P(Nodes, RuleOf, ::testing::ValuesIn(kRules),
                         [](const auto& of) { return of.param.name; });

// Neither an order nor what is computed from one asks for a derivative.
TEST(Tape, WantsNoDerivativeWhereNoGradientArrives) {
  Graph graph;
  ggml_context* c = graph.get();
  ggml_tensor* order = ggml_argsort(c, graph.rows(), GGML_SORT_ORDER_DESC);
  ggml_tensor* group = ggml_cast(c, ggml_cast(c, order, GGML_TYPE_F32), GGML_TYPE_I32);
  ggml_tensor* ids = ggml_view_2d(c, group, 2, 24, group->nb[1], 0);
  graph.finish(ggml_get_rows(c, graph.rows(1, 4, 24), ids));
  graph.expect_like_differences();
}

// As in every sequence that begins; states are large, and the budget counts by tokens.
TEST(Tape, KeepsNoStateOfZeros) {
  size_t bytes[2] = {};
  for (const int start : {0, 1}) {
    Graph graph;
    graph.finish(scan(graph, graph.get(), 1, float(start)));
    bytes[start] = graph.kept_bytes();
  }
  EXPECT_EQ(bytes[1], bytes[0] + 2 * 2 * 4 * sizeof(float));
  Graph graph;
  graph.finish(scan(graph, graph.get(), 2, 0));
  graph.expect_like_differences();
}

void expect_unknown(Graph& graph, ggml_tensor* result, const std::string& why) {
  graph.finish(result);
  const auto outcome = graph.gradient();
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().kind, ErrorKind::unsupported);
  EXPECT_THAT(outcome.error().message, ::testing::HasSubstr("'culprit'"));
  EXPECT_THAT(outcome.error().message, ::testing::HasSubstr(why));
}

ggml_tensor* named(ggml_tensor* t) { return ggml_set_name(t, "culprit"); }

TEST(Tape, NamesANodeWithoutARule) {
  Graph graph;
  ggml_context* c = graph.get();
  expect_unknown(graph, ggml_sqr(c, named(ggml_cumsum(c, graph.rows()))), "no rule");
}

TEST(Tape, KnowsNoGatedHyperConnection) {
  Graph graph;
  ggml_context* c = graph.get();
  expect_unknown(graph,
                 named(ggml_dsv4_hc_pre_gated(c, graph.rows(4, 6, 4), graph.rows(4, 6, 4), 1)),
                 "gated");
}

TEST(Tape, NamesANodeThatIsOfTwoActivations) {
  Graph graph;
  ggml_context* c = graph.get();
  ggml_tensor* biases = ggml_sqr(c, graph.rows());
  expect_unknown(graph,
                 named(ggml_add_id(c, graph.rows(4, 2, 12), biases, graph.integers({2, 12}))),
                 "of two activations");
}

TEST(Tape, NamesANodeThatIsComputedInPlace) {
  Graph graph;
  ggml_context* c = graph.get();
  ggml_tensor* doubled = ggml_scale(c, graph.rows(), 2);
  expect_unknown(graph, ggml_sqr(c, named(ggml_scale_inplace(c, doubled, 2))), "in place");
}

}  // namespace
}  // namespace kvsplice::host
