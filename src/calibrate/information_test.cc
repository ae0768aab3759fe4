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
  Result<ModelInformation> measured(const host::Model& model, size_t n, size_t sinks,
                                    const Progress& progress = {}, size_t length = 24) const {
    return measure_information(model, sequences(n, length), sinks, dir.file("."), memory, 1, {},
                               progress);
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
  const sweep::Team team({1, 2});  // the other one never comes
  expect_same(
      must(measure_information(model, sequences(3, 24), 4, dir.file("team"), memory, 1, team, {})));
  EXPECT_EQ(team.jobs_done_here(), 3u);
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
