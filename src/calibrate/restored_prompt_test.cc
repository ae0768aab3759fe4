// What becomes of a prompt's rows, and that the information behind it tells what their errors cost.
#include "calibrate/restored_prompt.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>

#include "calibrate/information.h"
#include "host/cache_block.h"
#include "host/gradient.h"
#include "host/tiny_model_test.h"
#include "quality/score.h"

namespace kvsplice::calibrate {
namespace {

using ::kvsplice::testing::family;
using ::kvsplice::testing::letters;
using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;

constexpr size_t kTokens = 40, kPrompt = kTokens / 2, kSinks = 4;

using Rows = std::map<std::pair<Kind, int>, Matrix<float>>;

class RestoredPromptOf : public ::testing::TestWithParam<const char*> {
 protected:
  static host::Model load(const TempDir& dir) {
    TinyModel(family(GetParam())).save(dir.file("tiny.gguf"));
    return must(host::Model::load(dir.file("tiny.gguf")));
  }
  codec::Codec codec(const std::string& pipeline) const {
    return must(codec::Codec::create(must(codec::parse_codec(pipeline)), model.shape()));
  }
  // What the model predicts behind the prompt, whose rows before and after are left in two places.
  std::vector<std::vector<float>> log_probs(const codec::Codec& codec, uint64_t seed,
                                            Rows* given = nullptr, Rows* made = nullptr) const {
    const auto tokens = letters(kTokens, seed);
    auto prompt = must(RestoredPrompt::begin(codec, {tokens.begin(), tokens.begin() + kPrompt},
                                             kSinks, host::embeddings_of(model)));
    std::vector<std::vector<float>> found(kTokens - kPrompt);
    const auto change = [&](Kind kind, int layer, MatrixView<float> rows) -> Result<> {
      if (given) (*given)[{kind, layer}] = copy(MatrixView<const float>(rows));
      KVS_TRY(prompt.restore(kind, layer, rows));
      if (made) (*made)[{kind, layer}] = copy(MatrixView<const float>(rows));
      return {};
    };
    const auto look = [&](size_t token, std::span<float> logits) {
      const quality::LogProbs log_p(logits);
      for (size_t i = 0; i < logits.size(); ++i) found[token].push_back(log_p[i]);
    };
    must(host::loss_gradients(model, tokens, {kPrompt, change, look, {}, 1}));
    return found;
  }

  TempDir dir;
  host::Model model = load(dir);
};

TEST_P(RestoredPromptOf, RowsAreThoseOfADecoderAndSinksStayExact) {
  const codec::Codec coarse = codec("hadamard | uniform(bits=3)");
  Rows given, made;
  log_probs(coarse, 7, &given, &made);
  ASSERT_EQ(given.size(), coarse.units().size());
  const auto tokens = letters(kTokens, 7);
  std::vector<int32_t> positions(kPrompt - kSinks);
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = int32_t(kSinks + i);
  for (const codec::UnitCoder& unit : coarse.units()) {
    const auto key = std::pair(unit.unit().kind, unit.unit().layer);
    const codec::CodeContext context{
        unit.unit(), std::span(tokens).subspan(kSinks, positions.size()), positions};
    const auto rows = given[key].view().row_range(kSinks, positions.size());
    const Bytes bytes = must(unit.encode(copy(MatrixView<const float>(rows)), context, nullptr));
    const Matrix<float> wanted = must(unit.decode(bytes, positions.size(), context));
    double changed = 0;
    for (size_t r = 0; r < kPrompt; ++r) {
      for (size_t c = 0; c < wanted.cols(); ++c) {
        const float before = given[key](r, c), after = made[key](r, c);
        ASSERT_EQ(after, r < kSinks ? before : wanted(r - kSinks, c));
        changed += std::abs(after - before);
      }
    }
    EXPECT_GT(changed, 0);
  }
}

double divergence(const std::vector<std::vector<float>>& p,
                  const std::vector<std::vector<float>>& q) {
  double sum = 0;
  for (size_t t = 0; t < p.size(); ++t) {
    for (size_t i = 0; i < p[t].size(); ++i) sum += std::exp(double(p[t][i])) * (p[t][i] - q[t][i]);
  }
  return sum;
}

// Half of what the information makes of all errors, e F e.
double cost(const ModelInformation& information, const Rows& given, const Rows& made) {
  double sum = 0;
  for (const auto& [unit, before] : given) {
    const auto& [kind, layer] = unit;
    const Matrix<float>& after = made.at(unit);
    size_t first = 0;
    for (const auto& f :
         (kind == Kind::key ? information.keys : information.values)[size_t(layer)].heads) {
      for (size_t r = kSinks; r < before.rows(); ++r) {
        for (size_t i = 0; i < f.rows(); ++i) {
          for (size_t j = 0; j < f.rows(); ++j) {
            sum += double(after(r, first + i) - before(r, first + i)) * f(i, j) *
                   (after(r, first + j) - before(r, first + j)) / 2;
          }
        }
      }
      first += f.rows();
    }
  }
  return sum;
}

TEST_P(RestoredPromptOf, InformationBehindItTellsWhatErrorsCost) {
  constexpr size_t kSequences = 12;
  const codec::Codec fine = codec("hadamard | uniform(bits=5)"), exact = codec("f16");
  std::vector<extract::Sequence> sequences;
  for (uint64_t s = 0; s < kSequences; ++s)
    sequences.push_back({"t", "", letters(kTokens, 10 + s)});
  const ModelInformation found = must(measure_information_behind(
      model, fine, sequences, {.sinks = kSinks, .work = dir.file("."), .threads = 1}, {}));
  double measured = 0, told = 0;
  for (uint64_t s = 0; s < kSequences; ++s) {
    Rows given, made;
    const auto p = log_probs(exact, 10 + s), q = log_probs(fine, 10 + s, &given, &made);
    measured += divergence(p, q);
    told += cost(found, given, made);
  }
  RecordProperty("divergence", std::to_string(measured));
  RecordProperty("told", std::to_string(told));
  EXPECT_NEAR(told / measured * kPrompt / (kPrompt - kSinks), 1, 0.3) << told << " " << measured;
}

INSTANTIATE_TEST_SUITE_P(Families, RestoredPromptOf, ::testing::Values("llama", "qwen3", "gpt2"));

}  // namespace
}  // namespace kvsplice::calibrate
