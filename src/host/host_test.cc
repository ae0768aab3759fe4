// The self-test of the host: on generated models of several families it proves that what we see of
// llama.cpp is what it computes, and that what we write is what it attends to. It is meant to fail
// when a new llama.cpp changes under us.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "core/half.h"
#include "core/relative_error_test.h"
#include "host/model.h"
#include "host/tiny_model_test.h"

namespace kvsplice::host {
namespace {

using ::kvsplice::testing::family;
using ::kvsplice::testing::family_name;
using ::kvsplice::testing::letters;
using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;
using ::kvsplice::testing::TinyOptions;

struct Loaded {
  explicit Loaded(const TinyOptions& options) : tiny(options), model(load()) {}
  Model load() {
    tiny.save(dir.file("tiny.gguf"));
    return must(Model::load(dir.file("tiny.gguf")));
  }
  TempDir dir;
  TinyModel tiny;
  Model model;
};

std::vector<Signal> signals_of(const ModelShape& shape) {
  if (shape.lacks_values()) return {Signal::key_before_rope, Signal::key, Signal::query};
  return {Signal::key_before_rope, Signal::key, Signal::value, Signal::query};
}
std::vector<Kind> kinds_of(const ModelShape& shape) {
  if (shape.lacks_values()) return {Kind::key};
  return {Kind::key, Kind::value};
}

using Rows = std::map<std::pair<Signal, int>, Matrix<float>>;

// Options of a context that gathers every capture of `tokens` positions into `rows`.
ContextOptions gathering(const ModelShape& shape, Rows& rows, size_t tokens,
                         std::map<Signal, int>* events = nullptr) {
  ContextOptions o;
  o.n_ctx = int(tokens);
  o.n_ubatch = 16;
  o.threads = 1;
  o.signals = signals_of(shape);
  o.capture = [&rows, tokens, events](const Capture& c) -> Result<> {
    if (events) ++(*events)[c.signal];
    auto& all = rows.try_emplace({c.signal, c.layer}, tokens, c.rows.cols).first->second;
    for (size_t r = 0; r < c.rows.rows; ++r) {
      std::copy_n(c.rows.row(r).data(), c.rows.cols, all.row(c.first + r).data());
    }
    return {};
  };
  return o;
}

Matrix<float> read_all(const Context& context, const ModelShape& shape, Kind kind, int layer) {
  Matrix<float> rows(context.size(), size_t(shape.layers[size_t(layer)].width(kind)));
  must(context.read_cache(kind, layer, 0, rows));
  return rows;
}

std::vector<float> last_logits(Context& context, std::span<const Token> tokens) {
  must(context.decode(tokens, 1));
  const auto logits = context.logits(0);
  return {logits.begin(), logits.end()};
}

class Family : public ::testing::TestWithParam<std::tuple<const char*, bool>> {
 protected:
  Loaded loaded{family(std::get<0>(GetParam()))};
  const Model& model = loaded.model;
  const ModelShape& shape = model.shape();
  bool flash = std::get<1>(GetParam());
  std::vector<Token> tokens = letters(40);

  Context context(ContextOptions o = {}) {
    o.flash_attention = flash;
    o.threads = 1;
    return must(Context::create(model, o));
  }
};

TEST_P(Family, ShapeIsThatOfTheFile) {
  const TinyOptions& o = loaded.tiny.options;
  EXPECT_EQ(shape.architecture, o.architecture);
  EXPECT_EQ(shape.query_heads, o.heads);
  EXPECT_EQ(shape.embedding_dim, o.embedding());
  EXPECT_EQ(shape.vocabulary, 286);
  EXPECT_EQ(shape.fingerprint.size(), 32u);
  std::vector<int> numbers, empty;
  for (int i = 0; i < o.layers; ++i) (o.kv_heads_of(i) > 0 ? numbers : empty).push_back(i);
  EXPECT_EQ(shape.empty_layers, empty);
  ASSERT_EQ(shape.layers.size(), numbers.size());
  for (size_t index = 0; index < numbers.size(); ++index) {
    const LayerShape& l = shape.layers[index];
    const int i = numbers[index];
    EXPECT_EQ(l.layer, i);
    EXPECT_EQ(l.kv_heads, o.kv_heads_of(i));
    EXPECT_EQ(shape.query_heads_of(int(index)), o.heads_of(i));
    EXPECT_EQ(l.key_dim, o.key_dim());
    EXPECT_EQ(l.value_dim, o.value_dim());
    EXPECT_EQ(l.rope.first, o.absorbed ? o.latent_rank : o.latent ? o.plain : 0);
    const bool slides = o.architecture == "gemma3" && i % 3 != 2;
    const bool chunked = o.architecture == "llama4" && i != 3;
    EXPECT_EQ(l.window, slides ? o.window : chunked ? 8192 : 0);
    EXPECT_EQ(l.chunked, chunked);
    const bool turns = o.architecture != "gpt2" && !(o.architecture == "llama4" && i == 3);
    const size_t pairs = !turns                        ? 0
                         : o.latent                    ? size_t(o.turned) / 2
                         : o.architecture == "gptneox" ? size_t(o.head_dim) / 8
                         : o.architecture == "glm4moe" ? size_t(o.head_dim) / 4
                                                       : size_t(o.head_dim) / 2;
    EXPECT_EQ(l.rope.frequency.size(), pairs);
    if (pairs == 0) continue;
    const bool adjacent = o.architecture == "llama" || o.architecture == "llama4" ||
                          o.architecture == "deci" || o.architecture == "deepseek2";
    EXPECT_EQ(l.rope.pairs, adjacent ? Rope::Pairs::adjacent : Rope::Pairs::halves);
    const double base = slides ? 100 : 10000;
    if (!o.yarn && !o.frequency_factors) {
      EXPECT_NEAR(l.rope.frequency[1], std::pow(base, -1.0 / double(pairs)), 1e-6);
      EXPECT_FLOAT_EQ(l.rope.magnitude, 1);
    }
  }
}

TEST_P(Family, WritingBackWhatWasStoredChangesNoBit) {
  ContextOptions plain, back;
  plain.n_ubatch = back.n_ubatch = 16;
  back.write_back = true;
  Context a = context(plain), b = context(back);
  must(a.decode(tokens, 40));
  must(b.decode(tokens, 40));
  for (size_t i = 0; i < 40; ++i) {
    const auto x = a.logits(i), y = b.logits(i);
    ASSERT_TRUE(std::equal(x.begin(), x.end(), y.begin())) << "position " << i;
  }
}

TEST_P(Family, EverySignalComesOncePerLayerAndPiece) {
  Rows rows;
  std::map<Signal, int> events;
  Context c = context(gathering(shape, rows, 40, &events));
  must(c.decode(tokens));  // 16 + 16 + 8
  must(c.truncate(30));
  must(c.decode(std::span(tokens).subspan(30, 1)));
  for (Signal s : signals_of(shape)) EXPECT_EQ(events[s], 4 * int(shape.layers.size())) << name(s);
}

TEST_P(Family, CapturedRowsAreTheCache) {
  Rows rows;
  Context c = context(gathering(shape, rows, 40));
  must(c.decode(std::span(tokens).first(40)));
  must(c.truncate(20));
  must(c.decode(letters(20, 8)));
  for (size_t layer = 0; layer < shape.layers.size(); ++layer) {
    for (Kind kind : kinds_of(shape)) {
      const Matrix<float> cache = read_all(c, shape, kind, int(layer));
      const auto& seen = rows.at({kind == Kind::key ? Signal::key : Signal::value, int(layer)});
      ASSERT_EQ(cache.cols(), seen.cols());
      for (size_t i = 0; i < cache.size(); ++i) {
        ASSERT_EQ(cache.flat()[i], from_half(to_half(seen.flat()[i]))) << name(kind) << " " << i;
      }
    }
  }
}

TEST_P(Family, KeysBeforeRotationRotateIntoTheKeys) {
  Rows rows;
  Context c = context(gathering(shape, rows, 300));
  must(c.decode(letters(300)));
  std::vector<int32_t> positions(300);
  for (size_t i = 0; i < 300; ++i) positions[i] = int32_t(i);
  for (size_t layer = 0; layer < shape.layers.size(); ++layer) {
    const LayerShape& l = shape.layers[layer];
    Matrix<float> turned = rows.at({Signal::key_before_rope, int(layer)});
    const Matrix<float> before = turned, &keys = rows.at({Signal::key, int(layer)});
    l.rope.apply(turned, l.key_dim, positions);
    EXPECT_LT(relative_error(turned.flat(), keys.flat()), 2e-5);
    l.rope.undo(turned, l.key_dim, positions);
    EXPECT_LT(relative_error(turned.flat(), before.flat()), 1e-6);
    if (l.rope.rotates()) {
      EXPECT_GT(relative_error(before.flat(), keys.flat()), 0.1);
    } else {
      EXPECT_TRUE(before == keys);
    }
  }
}

TEST_P(Family, LaterTokensAttendToWhatIsWritten) {
  Context c = context();
  must(c.decode(std::span(tokens).first(39)));
  const std::vector<float> before = last_logits(c, std::span(tokens).last(1));
  for (Kind kind : kinds_of(shape)) {
    must(c.truncate(39));
    const int layer = int(shape.layers.size()) - 1;  // with windows the one that sees everything
    const Matrix<float> saved = read_all(c, shape, kind, layer);
    Matrix<float> changed = copy(saved.view().row_range(3, 8));
    for (float& v : changed.flat()) v = -v + 0.5f;
    must(c.write_cache(kind, layer, 3, changed));
    const Matrix<float> reread = read_all(c, shape, kind, layer);
    for (size_t r = 0; r < 39; ++r) {
      for (size_t i = 0; i < reread.cols(); ++i) {
        const float wanted = r >= 3 && r < 11 ? from_half(to_half(changed(r - 3, i))) : saved(r, i);
        ASSERT_EQ(reread(r, i), wanted) << r << " " << i;
      }
    }
    EXPECT_GT(relative_error(last_logits(c, std::span(tokens).last(1)), before), 1e-3);
    must(c.truncate(39));
    must(c.write_cache(kind, layer, 0, saved));
    EXPECT_EQ(last_logits(c, std::span(tokens).last(1)), before) << name(kind);
  }
}

TEST_P(Family, LogitsRepeatAndDoNotDependOnThePieces) {
  ContextOptions small;
  small.n_ubatch = 7;
  Context a = context(), b = context(), pieces = context(small);
  const std::vector<float> x = last_logits(a, tokens);
  EXPECT_EQ(x, last_logits(b, tokens));
  a.clear();
  EXPECT_EQ(a.size(), 0u);
  EXPECT_EQ(x, last_logits(a, tokens));
  EXPECT_LT(relative_error(last_logits(pieces, tokens), x), 2e-3);
}

std::string test_name(const ::testing::TestParamInfo<std::tuple<const char*, bool>>& info) {
  return family_name(std::get<0>(info.param)) + (std::get<1>(info.param) ? "_flash" : "_plain");
}

INSTANTIATE_TEST_SUITE_P(
    All, Family,
    ::testing::Combine(::testing::Values("llama", "llama+yarn", "llama+factors", "qwen2", "qwen3",
                                         "gpt2", "gptneox", "gemma3", "hunyuan-dense", "deci+heads",
                                         "deci+gap", "deci+queries", "llama4", "qwen2vl", "qwen3vl",
                                         "glm4+sections", "glm4moe+sections", "minicpm3",
                                         "deepseek2", "deepseek2+experts", "deepseek2+heads"),
                       ::testing::Bool()),
    test_name);

// The first layer by hand, in double precision.
class ByHand : public ::testing::TestWithParam<const char*> {
 protected:
  Loaded loaded{family(GetParam())};

  const std::vector<float>& weight(const std::string& name) { return loaded.tiny.weight(name); }

  static std::vector<double> normed(std::span<const double> x, const std::vector<float>& gain) {
    double square = 0;
    for (double v : x) square += v * v;
    const double factor = 1 / std::sqrt(square / double(x.size()) + 1e-5);
    std::vector<double> y(x.size());
    for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * factor * gain[i];
    return y;
  }

  std::vector<double> attention_input(Token token) {
    const size_t d = loaded.tiny.options.embedding();
    std::vector<double> x(d);
    const double scale = std::string(GetParam()) == "gemma3" ? std::sqrt(double(d)) : 1;
    for (size_t i = 0; i < d; ++i)
      x[i] = scale * weight("token_embd.weight")[size_t(token) * d + i];
    return normed(x, weight("blk.0.attn_norm.weight"));
  }

  // attn_q, attn_k or attn_v of one token, its heads normalised if the model does.
  std::vector<double> project(const std::string& part, const std::vector<double>& x, bool norm) {
    const auto& w = weight("blk.0." + part + ".weight");
    std::vector<double> y(w.size() / x.size());
    for (size_t r = 0; r < y.size(); ++r) {
      if (std::string(GetParam()) == "qwen2") y[r] = weight("blk.0." + part + ".bias")[r];
      for (size_t i = 0; i < x.size(); ++i) y[r] += w[r * x.size() + i] * x[i];
    }
    if (!norm) return y;
    const size_t dim = size_t(loaded.tiny.options.head_dim);
    for (size_t h = 0; h < y.size(); h += dim) {
      const auto head =
          normed(std::span(y).subspan(h, dim), weight("blk.0." + part + "_norm.weight"));
      std::copy(head.begin(), head.end(), y.begin() + ptrdiff_t(h));
    }
    return y;
  }
};

TEST_P(ByHand, CapturesAreWhatTheWeightsSay) {
  const bool norm = std::string(GetParam()) == "qwen3" || std::string(GetParam()) == "gemma3";
  const auto tokens = letters(20);
  Rows rows;
  Context c = must(Context::create(loaded.model, gathering(loaded.model.shape(), rows, 20)));
  must(c.decode(tokens));
  const LayerShape& l = loaded.model.shape().layers[0];
  std::vector<int32_t> positions(20);
  for (size_t i = 0; i < 20; ++i) positions[i] = int32_t(i);
  // Also with the factor that gemma3 applies to its queries beforehand taken out.
  Matrix<float> queries = rows.at({Signal::query, 0});
  l.rope.undo(queries, l.key_dim, positions);
  for (size_t t = 0; t < tokens.size(); ++t) {
    const auto x = attention_input(tokens[t]);
    const auto k = project("attn_k", x, norm), v = project("attn_v", x, false);
    const auto q = project("attn_q", x, norm);
    for (size_t i = 0; i < k.size(); ++i) {
      ASSERT_NEAR(rows.at({Signal::key_before_rope, 0})(t, i), k[i], 1e-4);
      ASSERT_NEAR(rows.at({Signal::value, 0})(t, i), v[i], 1e-4);
    }
    for (size_t i = 0; i < q.size(); ++i) ASSERT_NEAR(queries(t, i), q[i], 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(All, ByHand, ::testing::Values("llama", "qwen2", "qwen3", "gemma3"));

}  // namespace
}  // namespace kvsplice::host
