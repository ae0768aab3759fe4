// Shares against the divergence that they are of. Gradients are tested in host/gradient_test.cc.
#include "calibrate/codec_loop.h"

#include <gmock/gmock.h>

#include "host/tiny_model_test.h"

namespace kvsplice::calibrate {
namespace {

using ::kvsplice::testing::family;
using ::kvsplice::testing::letters;
using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;

constexpr size_t kTokens = 40, kSinks = 4;

class CodecLoopOf : public ::testing::TestWithParam<const char*> {
 protected:
  static host::Model load(const TempDir& dir) {
    TinyModel(family(GetParam())).save(dir.file("tiny.gguf"));
    return must(host::Model::load(dir.file("tiny.gguf")));
  }
  codec::Codec codec(const std::string& pipeline) const {
    return must(codec::Codec::create(must(codec::parse_codec(pipeline)), model.shape()));
  }

  TempDir dir;
  host::Model model = load(dir);
  CodecLoop loop = must(CodecLoop::create(model, letters(kTokens), kSinks, 1));
};

TEST_P(CodecLoopOf, SharesOfSmallErrorsSumToTheDivergence) {
  const LoopGradients found = must(loop.gradients(codec("hadamard | uniform(bits=5)")));
  double sum = 0;
  for (size_t u = 0; u < found.units.size(); ++u) sum += found.share(u);
  const double floor = must(loop.gradients(codec("f16"))).divergence;
  RecordProperty("divergence", std::to_string(found.divergence));
  RecordProperty("shares", std::to_string(sum));
  EXPECT_LT(floor, 0.05 * found.divergence);
  EXPECT_NEAR(sum / (found.divergence - floor), 1, 0.05);
}

TEST_P(CodecLoopOf, UnitsAreGivenCellsAndSinksStayExact) {
  const LoopGradients found = must(loop.gradients(codec("hadamard | uniform(bits=3)")));
  ASSERT_EQ(found.units.size(), 2 * model.shape().layers.size());
  const auto all = letters(kTokens);
  host::ContextOptions options;
  options.n_ctx = int(kTokens);
  host::Context context = must(host::Context::create(model, options));
  ASSERT_TRUE(context.decode(std::span(all).first(kTokens / 2)).ok());
  Matrix<float> cells(kTokens / 2, found.units[1].given.cols());
  ASSERT_TRUE(context.read_cache(Kind::value, 0, 0, cells).ok());
  ASSERT_EQ(found.units[1].given.rows(), kTokens / 2 - kSinks);
  for (size_t r = 0; r < found.units[1].given.rows(); ++r) {
    for (size_t c = 0; c < cells.cols(); ++c) {
      ASSERT_NEAR(found.units[1].given(r, c), cells(kSinks + r, c), 1e-3);
      ASSERT_NE(found.units[1].gradient(r, c), 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, CodecLoopOf, ::testing::Values("llama", "qwen3", "gpt2"));

}  // namespace
}  // namespace kvsplice::calibrate
