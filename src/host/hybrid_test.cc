// Models with recurrent layers: what is found of them, and that their states come back to the bit.
#include <gmock/gmock.h>

#include "host/context_cells.h"
#include "host/session_state.h"
#include "host/tiny_model_test.h"
#include "session/generated_cells.h"

namespace kvsplice::host {
namespace {

using kvsplice::testing::family;
using kvsplice::testing::family_name;
using kvsplice::testing::letters;
using kvsplice::testing::must;
using kvsplice::testing::TempDir;
using kvsplice::testing::TinyModel;
using kvsplice::testing::TinyOptions;
using ::testing::HasSubstr;

constexpr size_t kTokens = 40;

class Hybrid : public ::testing::TestWithParam<const char*> {
 protected:
  Hybrid() {
    TinyModel(options_).save(dir_.file("m.gguf"));
    model_.emplace(must(Model::load(dir_.file("m.gguf"))));
  }
  Context context(CacheType type = CacheType::f16) const {
    ContextOptions options;
    options.n_ctx = 96;
    options.threads = 1;
    options.cache = type;
    return must(Context::create(*model_, options));
  }
  static std::vector<float> next(Context& context, size_t n = 20) {
    std::vector<float> all;
    for (const Token token : letters(n, 9)) {
      must(context.decode({&token, 1}, 1));
      all.insert(all.end(), context.logits(0).begin(), context.logits(0).end());
    }
    return all;
  }
  const ModelShape& shape() const { return model_->shape(); }

  const TinyOptions options_ = family(GetParam());
  const TempDir dir_;
  std::optional<Model> model_;
  const std::vector<int32_t> tokens_ = letters(kTokens);
};

TEST_P(Hybrid, LayersAreFound) {
  const bool both = options_.architecture == "falcon-h1";
  std::vector<int> attend, recur, met_attend, met_recur;
  for (int i = 0; i < options_.layers; ++i) {
    const bool feeds = options_.architecture == "nemotron_h" && i % 3 == 2;
    if (both || options_.kv_heads_of(i) > 0) attend.push_back(i);
    if (both || (options_.kv_heads_of(i) == 0 && !feeds)) recur.push_back(i);
  }
  for (const LayerShape& l : shape().layers) {
    met_attend.push_back(l.layer);
    EXPECT_EQ(l.kv_heads, 2);
    EXPECT_EQ(l.key_dim, options_.head_dim);
    EXPECT_EQ(l.window, options_.slides ? options_.window : 0);
  }
  for (const RecurrentLayer& l : shape().recurrent) {
    met_recur.push_back(l.layer);
    EXPECT_GT(l.r, 0u);
    EXPECT_EQ(l.s > 0, options_.architecture != "lfm2");
  }
  EXPECT_EQ(met_attend, attend);
  EXPECT_EQ(met_recur, recur);
  EXPECT_TRUE(shape().empty_layers.empty());
}

TEST_P(Hybrid, StatesComeBackToTheByte) {
  Context made = context();
  must(made.decode(tokens_));
  const Bytes state = must(made.save_state());
  const StateCells cells = must(cells_of(made, shape(), tokens_));
  ASSERT_TRUE(cells.recurrent);
  EXPECT_EQ(cells.recurrent->position, kTokens);
  EXPECT_EQ(cells.recurrent->bytes(), shape().recurrent_bytes());
  const StateTarget target{.form = StateForm::sequence_data};
  EXPECT_EQ(must(to_state(cells.cells, {}, shape(), target, &*cells.recurrent)), state);
  Context other = context();
  must(restore_cells(cells.cells, shape(), other, &*cells.recurrent));
  EXPECT_EQ(next(other), next(made));
}

TEST_P(Hybrid, SessionsBringThemBack) {
  Context made = context();
  must(made.decode(tokens_));
  const Bytes state = must(made.save_state());
  const StateCells cells = must(cells_of(made, shape(), tokens_));
  const session::Coder coder{shape(), nullptr, nullptr};
  must(session::pack(dir_.file("s.kvz"), cells.cells, {}, coder, {}, {},
                     {.states = {&*cells.recurrent, 1}}));
  const auto session = must(session::Session::open(dir_.file("s.kvz"), coder));
  const StateTarget target{.form = StateForm::sequence_data};
  EXPECT_EQ(must(to_state(session, kTokens, {}, shape(), target, true, {})).bytes, state);
  Context other = context();
  must(restore_session(session, shape(), other, {}));
  EXPECT_EQ(next(other), next(made));
}

std::string test_name(const ::testing::TestParamInfo<const char*>& info) {
  return family_name(info.param);
}

INSTANTIATE_TEST_SUITE_P(All, Hybrid,
                         ::testing::Values("qwen3next", "granitehybrid", "lfm2", "lfm2+window",
                                           "nemotron_h", "jamba", "falcon-h1"),
                         test_name);

}  // namespace
}  // namespace kvsplice::host
