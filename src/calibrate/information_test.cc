#include "calibrate/information.h"

#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>

#include "calibrate/calibrate.h"
#include "core/file.h"
#include "host/gradient.h"
#include "host/tiny_model_test.h"
#include "solve/solve.h"

namespace kvsplice::calibrate {
namespace {

using ::kvsplice::testing::letters;
using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;
using ::kvsplice::testing::TinyOptions;

class InformationTest : public ::testing::Test {
 protected:
  host::Model load(const std::string& architecture) {
    TinyOptions options;
    options.architecture = architecture;
    options.context = 2048;
    TinyModel(options).save(dir.file("m.gguf"));
    return must(host::Model::load(dir.file("m.gguf")));
  }
  static std::vector<extract::Sequence> sequences(size_t n, size_t length) {
    std::vector<extract::Sequence> made;
    for (size_t i = 0; i < n; ++i) made.push_back({"t", "", letters(length, 10 + i)});
    return made;
  }
  GatherOptions gathering(size_t sinks) const {
    return {.sinks = sinks, .work = dir.file("."), .threads = 1, .memory = memory};
  }
  Result<ModelInformation> measured(const host::Model& model, size_t n, size_t sinks,
                                    const Progress& progress = {}, size_t length = 24) const {
    return measure_information(model, sequences(n, length), gathering(sinks), progress);
  }

  TempDir dir;
  size_t memory = kGradientMemory;
};

TEST_F(InformationTest, LittleMemoryShortensSequences) {
  const auto model = load("llama");
  const auto of = [&](size_t length) {
    return must(measured(model, 2, 3, {}, length)).values[1].heads[1](0, 0);
  };
  const size_t each = must(host::gradient_bytes_per_token(model));
  const double whole = of(64), shorter = of(40);
  memory = 40 * each;
  EXPECT_FLOAT_EQ(float(of(64)), float(shorter));  // what was kept are floats
  EXPECT_GT(std::abs(of(64) - whole), 1e-3 * whole);
  memory = 5 * each;
  const Error refused = measured(model, 2, 3, {}, 64).error();
  EXPECT_EQ(refused.kind, ErrorKind::usage);
  EXPECT_NE(refused.message.find("gradients take"), std::string::npos) << refused.message;
}

TEST_F(InformationTest, MemoryOfATokenIsThatOfItsRecords) {
  // At least what a token's logits, keys and values take, and a small multiple of its activations.
  const auto model = load("llama");
  const size_t each = must(host::gradient_bytes_per_token(model));
  const size_t logits = 8 * size_t(model.shape().vocabulary);
  EXPECT_GT(each, logits + model.shape().layers.size() * 4 * size_t(model.shape().embedding_dim));
  EXPECT_LT(each, logits + model.shape().layers.size() * 200 * size_t(model.shape().embedding_dim));
}

TEST_F(InformationTest, IsTheMeanOfTheProductsOfGradients) {
  const auto model = load("llama");
  const auto made = must(measured(model, 2, 3));
  const auto& shape = model.shape();
  ASSERT_EQ(made.keys.size(), shape.layers.size());
  ASSERT_EQ(made.values.size(), shape.layers.size());
  Matrix<double> expected(32, 32);  // of the second head of layer 1's values
  for (uint64_t i = 0; i < 2; ++i) {
    host::GradientOptions options;
    options.seed = i;
    const auto add = [&](Kind kind, int layer, MatrixView<const float> g) -> Result<> {
      if (kind != Kind::value || layer != 1) return {};
      for (size_t t = 3; t < g.rows; ++t) {
        for (size_t a = 0; a < 32; ++a) {
          for (size_t b = 0; b < 32; ++b) {
            expected(a, b) += double(g(t, 32 + a)) * g(t, 32 + b) / (2 * 24);
          }
        }
      }
      return {};
    };
    must(host::predicted_gradients(model, letters(24, 10 + i), options, add));
  }
  const Matrix<double>& got = made.values[1].heads[1];
  double size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got.flat()[i], expected.flat()[i], 1e-4 * expected(0, 0));
    size += std::abs(got.flat()[i]);
  }
  EXPECT_GT(size, 0);
  EXPECT_GT(must(symmetric_eigen(got)).values.back(), -1e-6 * got(0, 0));
}

TEST_F(InformationTest, IsKeptAndTakenAgain) {
  const auto model = load("llama");
  const auto made = must(measured(model, 2, 4));
  const Progress never{[](const std::string&, size_t, size_t) { return false; }};
  const auto again = measured(model, 2, 4, never);
  ASSERT_TRUE(again.ok()) << again.error().message;
  for (size_t i = 0; i < made.keys[0].heads[0].size(); ++i) {
    EXPECT_EQ(again->keys[0].heads[0].flat()[i], made.keys[0].heads[0].flat()[i]);
  }
  EXPECT_EQ(measured(model, 2, 5, never).error().kind, ErrorKind::interrupted);  // other sinks
  EXPECT_EQ(measured(model, 3, 4, never).error().kind, ErrorKind::interrupted);  // more texts
  EXPECT_TRUE(measured(model, 1, 4, never).ok()) << "one of them is measured again";
}

TEST_F(InformationTest, WhoeverMeasuresASequenceTheMeanIsTheSame) {
  const auto model = load("llama");
  const auto made = must(measured(model, 3, 4));
  const auto expect_same = [&](const ModelInformation& other) {
    for (size_t l = 0; l < made.values.size(); ++l) {
      for (size_t h = 0; h < made.values[l].heads.size(); ++h) {
        EXPECT_THAT(other.values[l].heads[h].flat(),
                    ::testing::ElementsAreArray(made.values[l].heads[h].flat()));
      }
    }
  };
  size_t removed = 0;
  for (const auto& file : std::filesystem::directory_iterator(dir.file("."))) {
    const std::string name = file.path().filename().string();
    if (name.starts_with("information-") && name.ends_with("-1-4.gguf")) {
      removed += std::filesystem::remove(file.path());
    }
  }
  EXPECT_EQ(removed, 1u);
  expect_same(must(measured(model, 3, 4)));
  std::filesystem::create_directory(dir.file("team"));
  GatherOptions shared = gathering(4);
  shared.work = dir.file("team");
  shared.team = sweep::Team({1, 2});  // the other one never comes
  expect_same(must(measure_information(model, sequences(3, 24), shared, {})));
  EXPECT_EQ(shared.team.jobs_done_here(), 3u);
}

// Memory grows with the tokens of a sequence, so the first 1,024 have to do.
TEST_F(InformationTest, OfLongSequencesTheFirstTokensServe) {
  const auto model = load("llama");
  const Progress never{[](const std::string&, size_t, size_t) { return false; }};
  must(measured(model, 1, 4, {}, 1200));
  EXPECT_TRUE(measured(model, 1, 4, never, 1024).ok());
  EXPECT_EQ(measured(model, 1, 4, never, 1023).error().kind, ErrorKind::interrupted);
}

TEST_F(InformationTest, ADamagedFileIsRefused) {
  const auto model = load("llama");
  must(measured(model, 1, 4));
  for (const auto& entry : std::filesystem::directory_iterator(dir.file("."))) {
    if (entry.path().filename().string().starts_with("information-")) {
      std::filesystem::resize_file(entry.path(), entry.file_size() / 2);
    }
  }
  EXPECT_FALSE(measured(model, 1, 4).ok());
}

TEST_F(InformationTest, CalibrationUsesIt) {
  const auto text = dir.file("t.txt");
  std::string letters_of;
  for (int i = 0; i < 2000; ++i) letters_of += static_cast<char>('a' + (i * i + i / 7) % 26);
  must(write_text(text, letters_of));
  CalibrateOptions options;
  options.tokens = 8 * 96;
  options.sequence = 96;
  options.threads = 1;
  const auto stage = [](const codec::Codec& codec, const std::string& name) {
    const auto& stages = codec.text().key;
    return size_t(
        std::find_if(stages.begin(), stages.end(), [&](const auto& s) { return s.name == name; }) -
        stages.begin());
  };
  const auto informed = must(calibrate(load("llama"), {text}, options, {}));
  EXPECT_THAT(informed.notes, ::testing::IsEmpty());
  for (const auto& unit : informed.codec.units()) {
    EXPECT_FALSE(unit.stages()[stage(informed.codec, "fisher")]->save().empty());
  }
}

TEST_F(InformationTest, BehindAPromptIsKeptForTheCodecThatRestoredIt) {
  const auto model = load("llama");
  const Progress never{[](const std::string&, size_t, size_t) { return false; }};
  const auto behind = [&](const std::string& pipeline, const Progress& progress) {
    const auto codec =
        must(codec::Codec::create(must(codec::parse_codec(pipeline)), model.shape()));
    return measure_information_behind(model, codec, sequences(2, 24), gathering(4), progress);
  };
  const auto made = must(behind("hadamard | uniform(bits=3)", {}));
  const auto again = behind("hadamard | uniform(bits=3)", never);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_THAT(again->keys[1].heads[0].flat(),
              ::testing::ElementsAreArray(made.keys[1].heads[0].flat()));
  EXPECT_EQ(behind("hadamard | uniform(bits=4)", never).error().kind, ErrorKind::interrupted);
}

TEST_F(InformationTest, AnEvenMeanKeepsTheScaleOfTheFirst) {
  const auto of = [](double keys, double values) {
    const auto one = [](double v) {
      Matrix<double> head(2, 2);
      head(0, 0) = v;
      head(1, 1) = 2 * v;
      head(0, 1) = head(1, 0) = v / 2;
      return codec::Information{{head}};
    };
    return ModelInformation{{one(keys)}, {one(values)}};
  };
  // Scaled by 8, so that the product of both traces is the same.
  const ModelInformation mean = even_mean(of(4, 16), of(2, .5));
  EXPECT_NEAR(mean.keys[0].heads[0](0, 0), (4 + 8 * 2) / 2., 1e-9);
  EXPECT_NEAR(mean.keys[0].heads[0](0, 1), (4 + 8 * 2) / 4., 1e-9);
  EXPECT_NEAR(mean.values[0].heads[0](1, 1), 16 + 8 * .5, 1e-9);
  const ModelInformation same = even_mean(of(4, 16), of(0, 0));
  EXPECT_NEAR(same.keys[0].heads[0](0, 0), 2, 1e-9);
}

class TuneTest : public InformationTest {
 protected:
  TuneTest() {
    std::string text;
    for (size_t i = 0; i < 6000; ++i) text += char('a' + (i * i / 7 + i / 13) % 26);
    must(write_text(dir.file("t.txt"), text));
    options.pipeline = "fisher | klt | step(delta=0.4) | range";
    options.tokens = 512;
    options.sequence = 64;
    options.threads = 1;
  }
  Result<Calibration> made(const std::string& architecture = "llama") {
    return calibrate(load(architecture), {dir.file("t.txt")}, options, {});
  }

  CalibrateOptions options;
};

TEST_F(TuneTest, FitsWithWhatIsLearntBehindPromptsAndTheSameEveryTime) {
  const codec::Codec even = must(made()).codec;
  options.tune = true;
  const codec::Codec tuned = must(made()).codec;
  EXPECT_EQ(tuned.fingerprint(), must(made()).codec.fingerprint());
  for (size_t u = 0; u < even.units().size(); ++u) {
    EXPECT_NE(even.units()[u].stages()[0]->save().at("codes").values,
              tuned.units()[u].stages()[0]->save().at("codes").values);
  }
}

TEST_F(TuneTest, TargetsAndLiveCachesAreTuned) {
  options.tune = true;
  options.ratio = 6;
  const Calibration made_of = must(made());
  EXPECT_NEAR(made_of.trials.back().ratio, 6, 0.3);
  options.ratio = {};
  options.pipeline = {};
  options.live = true;
  EXPECT_TRUE(made().ok());
}

TEST_F(TuneTest, SaysWhatCannotBeTuned) {
  options.pipeline = "klt(scope=model) | step | range";
  const codec::Codec joined = must(made()).codec;
  const auto behind =
      measure_information_behind(load("llama"), joined, sequences(1, 24), gathering(4), {});
  EXPECT_THAT(behind.error().message, ::testing::HasSubstr("not layers joined"));
  options.tune = true;
  EXPECT_THAT(made().error().message, ::testing::HasSubstr("has no stage 'fisher'"));
}

TEST_F(InformationTest, RowsOfJoinedLayersHaveNone) {
  const auto model = load("llama");
  const auto made = must(measured(model, 1, 4));
  class NoRows : public codec::RowSource {
   public:
    std::span<const int32_t> tokens() const override { return {}; }
    std::span<const int32_t> positions() const override { return {}; }
    Result<Matrix<float>> read(Kind, int) const override { return Matrix<float>(); }
  } none;
  EXPECT_EQ(none.read_information(Kind::key, 0).error().kind, ErrorKind::usage);
  const InformedRows rows(none, made);
  EXPECT_TRUE(rows.read_information(Kind::key, 0).ok());
  EXPECT_EQ(rows.read_information(Kind::key, -1).error().kind, ErrorKind::usage);
  EXPECT_EQ(rows.read_information(Kind::value, 3).error().kind, ErrorKind::usage);
}

}  // namespace
}  // namespace kvsplice::calibrate
