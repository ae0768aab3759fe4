// Models whose layers are not all alike, all the way: a codec is fitted, a conversation is packed,
// and llama.cpp goes on from what is restored as if it had never left.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/calibrate.h"
#include "core/file.h"
#include "host/cache_block.h"
#include "host/context_cells.h"
#include "host/tiny_model_test.h"

namespace kvsplice::session {
namespace {

using ::kvsplice::testing::family;
using ::kvsplice::testing::letters;
using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;
using ::kvsplice::testing::TinyOptions;

class UnlikeLayers : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr size_t kTokens = 300;

  host::Model load() const {
    TinyOptions options = family(GetParam());
    options.context = 16384;
    if (options.architecture == "llama4") options.heads = 2, options.kv_heads = 1;
    TinyModel(options).save(dir_.file("m.gguf"));
    return must(host::Model::load(dir_.file("m.gguf")));
  }
  host::Context context(size_t tokens) const {
    host::ContextOptions options;
    options.n_ctx = static_cast<int>(tokens);
    options.threads = 2;
    return must(host::Context::create(model_, options));
  }
  static std::vector<float> next_logits(host::Context& context, host::Token token) {
    must(context.decode({&token, 1}, 1));
    return {context.logits(0).begin(), context.logits(0).end()};
  }
  // What the model says behind n tokens, before and after a session of them.
  void expect_the_same_next(size_t n) {
    const auto tokens = letters(n);
    host::Context before = context(n + 1), after = context(n + 1);
    must(before.decode(tokens));
    const auto state = must(host::cells_of(before, model_.shape(), tokens));
    must(pack(dir_.file("s.kvz"), state.cells, {}, lossless_, {}, {}));
    const Session session = must(Session::open(dir_.file("s.kvz"), lossless_));
    EXPECT_EQ(must(host::restore_session(session, model_.shape(), after, {})), tokens);
    EXPECT_EQ(next_logits(after, 270), next_logits(before, 270)) << n;
  }

  const TempDir dir_;
  const host::Model model_ = load();
  const Coder lossless_{model_.shape(), nullptr, nullptr};
};

TEST_P(UnlikeLayers, ContinueFromASession) { expect_the_same_next(kTokens); }

TEST_P(UnlikeLayers, HaveCodecs) {
  std::string text;
  for (int32_t token : letters(2000)) text += char('a' + (token - 260) % 7);
  must(write_text(dir_.file("text"), text));
  calibrate::CalibrateOptions options;
  options.pipeline = "layers(history=2) | klt | step(delta=0.05) | range";
  options.tokens = 1024;
  options.sequence = 256;
  const auto made = must(calibrate::calibrate(model_, {dir_.file("text")}, options, {}));
  made.codec.save(dir_.file("codec")).value();
  const codec::Codec codec = must(codec::Codec::load(dir_.file("codec")));
  EXPECT_EQ(codec.shape(), model_.shape());
  const codec::Embeddings embeddings = host::embeddings_of(model_);
  const Coder coder{model_.shape(), &codec, &embeddings};
  const auto tokens = letters(kTokens);
  host::Context context = this->context(kTokens);
  must(context.decode(tokens));
  const auto state = must(host::cells_of(context, model_.shape(), tokens));
  must(pack(dir_.file("s.kvz"), state.cells, {}, coder, {}, {}));
  const Session session = must(Session::open(dir_.file("s.kvz"), coder));
  must(host::restore_session(session, model_.shape(), context, {}));
}

INSTANTIATE_TEST_SUITE_P(All, UnlikeLayers,
                         ::testing::Values("deci+heads", "deci+gap", "deci+queries", "llama4"),
                         [](const auto& family) { return testing::family_name(family.param); });

// A window would have slid on by one; the chunk begins anew.
class Chunks : public UnlikeLayers {};

TEST_P(Chunks, ContinueOnBothSidesOfABorder) {
  for (size_t n : {8192, 8193}) expect_the_same_next(n);
}

INSTANTIATE_TEST_SUITE_P(All, Chunks, ::testing::Values("llama4"));

}  // namespace
}  // namespace kvsplice::session
