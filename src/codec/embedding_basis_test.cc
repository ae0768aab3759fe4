#include "codec/embedding_basis.h"

#include <gmock/gmock.h>

#include <cmath>

#include "codec/block_coding.h"

namespace kvsplice::codec {
namespace {

using testing::HasSubstr;

Matrix<double> directions() {
  Matrix<double> made(2, 3);
  const double values[] = {0.5, -1, 0.25, 0, 0, 3};
  std::copy(std::begin(values), std::end(values), made.data());
  return made;
}

TEST(EmbeddingBasis, ProjectsOnRoundedDirections) {
  const EmbeddingBasis basis(directions());
  Matrix<float> embedded(1, 3);
  embedded(0, 0) = 2;
  embedded(0, 1) = 1;
  embedded(0, 2) = -4;
  const Matrix<float> made = basis.project(embedded);
  ASSERT_EQ(made.cols(), 2u);
  EXPECT_FLOAT_EQ(made(0, 0), (64 * 2 - 127 - 32 * 4) / 1024.f);
  EXPECT_FLOAT_EQ(made(0, 1), -127 * 4 / 1024.f);
}

TEST(EmbeddingBasis, IsLoadedAsItWasSaved) {
  const State saved = EmbeddingBasis(directions()).save();
  ASSERT_EQ(saved.at("codes").storage, Storage::i8);
  const auto loaded = EmbeddingBasis::load(saved, 2, 3);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(loaded->save().at("codes").values, saved.at("codes").values);
  EXPECT_TRUE(EmbeddingBasis().save().empty());
}

TEST(EmbeddingBasis, RefusesOtherShapesAndValues) {
  State state = EmbeddingBasis(directions()).save();
  EXPECT_FALSE(EmbeddingBasis::load(state, 3, 3).ok());
  EXPECT_FALSE(EmbeddingBasis::load(state, 2, 4).ok());
  EXPECT_FALSE(EmbeddingBasis::load({}, 2, 3).ok());
  for (float bad : {-128.f, 1e30f, NAN}) {
    state["codes"].values[4] = bad;
    EXPECT_FALSE(EmbeddingBasis::load(state, 2, 3).ok()) << bad;
  }
}

TEST(EmbeddingBasis, RefusesEmbeddingsOfAnotherWidth) {
  ModelShape shape;
  StageInfo::Traits traits;
  traits.embeddings = true;
  const Embeddings embeddings{
      4, [](std::span<const int32_t>, MatrixView<float>) { return Result<>(); }};
  const int32_t token = 0;
  auto coding = BlockCoding::begin(shape, traits, {&token, 1}, {&token, 1}, &embeddings);
  ASSERT_TRUE(coding.ok());
  EXPECT_THAT(coding->project(EmbeddingBasis(directions())).error().message,
              HasSubstr("embeddings of 4 values; the codec's have 3"));
}

}  // namespace
}  // namespace kvsplice::codec
