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

const Rule kRules[] = {
    {"AddOfARow", [](Graph& g, ggml_context* c) { return ggml_add(c, g.rows(), g.floats({4})); }},
    {"AddRepeated",
     [](Graph& g, ggml_context* c) {
       return ggml_add(c, g.floats({8, 4, 24}), ggml_sqr(c, g.rows(1, 4, 24)));
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
    {"Clamp", [](Graph& g, ggml_context* c) { return ggml_clamp(c, g.rows(), -0.5f, 0.7f); }},
    {"Softmax",
     [](Graph& g, ggml_context* c) { return ggml_soft_max_ext(c, g.rows(), nullptr, 0.7f, 0); }},
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

TEST(Tape, NamesANodeThatIsOfTwoActivations) {
  Graph graph;
  ggml_context* c = graph.get();
  expect_unknown(graph, ggml_sqr(c, named(ggml_mul_mat(c, graph.rows(), graph.rows()))),
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
