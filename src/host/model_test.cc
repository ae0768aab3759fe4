// Loading and refusing models, their fingerprint, tokenizer and embeddings.
#include "host/model.h"

#include <gmock/gmock.h>

#include <cmath>

#include "host/tiny_model_test.h"

namespace kvsplice::host {
namespace {

using ::kvsplice::testing::must;
using ::kvsplice::testing::put_file;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;
using ::kvsplice::testing::TinyOptions;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ModelTest : public ::testing::Test {
 protected:
  TempDir dir;
  std::string path = dir.file("m.gguf");

  Model load(const TinyOptions& options = {}) {
    TinyModel(options).save(path);
    return must(Model::load(path));
  }
  Error refused(const std::string& architecture) {
    TinyOptions o;
    o.architecture = architecture;
    TinyModel(o).save(path);
    return Model::load(path).error();
  }
};

TEST_F(ModelTest, RefusesByName) {
  EXPECT_THAT(refused("mamba").message, AllOf(HasSubstr("'mamba'"), HasSubstr("is recurrent")));
  EXPECT_EQ(refused("mamba").kind, ErrorKind::unsupported);
  EXPECT_THAT(refused("minimax-m3").message,
              AllOf(HasSubstr("'minimax-m3'"), HasSubstr("layer 1 keeps two caches")));
  EXPECT_THAT(refused("gnat").message, AllOf(HasSubstr("cannot load"), HasSubstr("gnat")));
}

TEST_F(ModelTest, RefusesSectionsThatCannotBeComputed) {
  TinyOptions o;
  o.architecture = "qwen2vl";
  const std::vector<std::vector<int32_t>> bad = {
      {0, 0, 0, 0}, {0, 0, 0, 16}, {8, -4, 8, 4}, {16, 16, 16, 16}};
  for (const auto& sections : bad) {
    o.sections = sections;
    TinyModel(o).save(path);
    EXPECT_THAT(Model::load(path).error().message,
                AllOf(HasSubstr("'qwen2vl'"), HasSubstr("of a rotary embedding of 32 dimensions")));
  }
  o.sections = {16, 16, 0, 0};
  TinyModel(o).save(path);
  EXPECT_TRUE(must(Model::load(path)).shape().places);
  EXPECT_FALSE(load().shape().places);
}

TEST_F(ModelTest, RefusesWhatIsNotAModel) {
  EXPECT_THAT(Model::load(dir.file("none.gguf")).error().message, HasSubstr("cannot open"));
  EXPECT_EQ(Model::load(dir.file("")).error().kind, ErrorKind::io);
  must(write_text(path, "Once upon a time"));
  EXPECT_THAT(Model::load(path).error().message, HasSubstr("is not a GGUF file"));
  must(write_text(path, ""));
  EXPECT_THAT(Model::load(path).error().message, HasSubstr("is not a GGUF file"));
  kvsplice::testing::GgufEmitter other;
  other.set_text("general.type", "imatrix");
  put_file(path, other.bytes());
  EXPECT_THAT(Model::load(path).error().message, HasSubstr("not a model"));
}

TEST_F(ModelTest, RefusesTruncatedModels) {
  TinyModel({}).save(path);
  const size_t whole = std::filesystem::file_size(path);
  for (size_t part = 19; part > 0; --part) {
    std::filesystem::resize_file(path, whole * part / 20);
    const auto loaded = Model::load(path);
    ASSERT_FALSE(loaded.ok());
    EXPECT_EQ(loaded.error().kind, ErrorKind::format);
    EXPECT_THAT(loaded.error().message, HasSubstr("truncated"));
  }
}

TEST_F(ModelTest, SaysWhichTensorIsMissing) {
  kvsplice::testing::GgufEmitter file;
  file.set_text("general.architecture", "llama");
  put_file(path, file.bytes());
  EXPECT_THAT(Model::load(path).error().message, HasSubstr("llama.context_length"));
}

TEST_F(ModelTest, FingerprintIsOfTheModelAndNotOfTheFile) {
  const std::string original = load().shape().fingerprint;
  EXPECT_EQ(load().shape().fingerprint, original);

  TinyOptions o;
  o.name = "another name";
  TinyModel renamed(o);
  renamed.file.set_text("tokenizer.chat_template", "{{ messages }}");
  path = dir.file("elsewhere.gguf");
  renamed.save(path);
  EXPECT_EQ(must(Model::load(path)).shape().fingerprint, original);
  EXPECT_EQ(must(Model::load(path)).shape().model_name, "another name");

  o = {};
  o.seed = 2;
  EXPECT_NE(load(o).shape().fingerprint, original);
  o = {};
  o.context = 256;
  EXPECT_NE(load(o).shape().fingerprint, original);
}

TEST_F(ModelTest, SplitModelsAreOneModel) {
  const Model whole = load();
  TinyOptions o;
  o.split = true;
  const TinyModel tiny(o);
  const Model split = must(Model::load(tiny.save_split(dir)));
  EXPECT_EQ(split.shape(), whole.shape());
  EXPECT_GT(split.file_bytes(), whole.file_bytes());
  EXPECT_THAT(Model::load(dir.file("m-00002-of-00002.gguf")).error().message,
              HasSubstr("is part 2 of 2; give the first"));
  std::filesystem::remove(dir.file("m-00002-of-00002.gguf"));
  EXPECT_THAT(Model::load(dir.file("m-00001-of-00002.gguf")).error().message,
              HasSubstr("cannot open"));
}

TEST_F(ModelTest, FactsOfTheFile) {
  const Model model = load();
  EXPECT_EQ(model.context_limit(), 512);
  EXPECT_EQ(model.file_bytes(), std::filesystem::file_size(path));
  EXPECT_EQ(model.path(), path);
  EXPECT_TRUE(model.adds_bos());
  EXPECT_EQ(model.bos(), 1);
  EXPECT_TRUE(model.ends_generation(2));
  EXPECT_FALSE(model.ends_generation(260));
}

TEST_F(ModelTest, Tokenizes) {
  const Model model = load();
  EXPECT_THAT(must(model.tokenize("ab c")), ElementsAre(1, 259, 260, 261, 259, 262));
  EXPECT_THAT(must(model.tokenize("")), ElementsAre(1));
  // Bytes that are not UTF-8 are still bytes.
  EXPECT_GE(must(model.tokenize("a\xff\xfe\xc3(")).size(), 4u);
  EXPECT_EQ(model.piece(261), "b");
  EXPECT_EQ(model.piece(259), " ");
  EXPECT_EQ(model.piece(3 + '!'), "!");
  EXPECT_EQ(model.piece(-1), "");
  EXPECT_EQ(model.piece(286), "");
  const std::string text = "the quick brown fox";
  std::string joined;
  for (Token t : must(model.tokenize(text))) joined += t == 1 ? "" : model.piece(t);
  EXPECT_EQ(joined, " " + text);
}

TEST_F(ModelTest, EmbeddingsAreNormalisedRows) {
  TinyModel tiny({});
  tiny.save(path);
  const Model model = must(Model::load(path));
  const std::vector<Token> tokens = {5, 285, 0, 5};
  Matrix<float> out(4, 128);
  must(model.normalised_embeddings(tokens, out));
  for (size_t i = 0; i < tokens.size(); ++i) {
    const float* row = &tiny.weight("token_embd.weight")[size_t(tokens[i]) * 128];
    double square = 0;
    for (size_t j = 0; j < 128; ++j) square += double(row[j]) * row[j];
    for (size_t j = 0; j < 128; ++j) {
      ASSERT_NEAR(out(i, j), row[j] / std::sqrt(square / 128 + 1e-8), 1e-6);
    }
  }
  const std::vector<Token> foreign = {286, 0, 0, 0};
  EXPECT_THAT(model.normalised_embeddings(foreign, out).error().message,
              HasSubstr("token 286 is not in 0 ... 285"));
  Matrix<float> narrow(4, 127);
  EXPECT_EQ(model.normalised_embeddings(tokens, narrow).error().kind, ErrorKind::usage);
}

}  // namespace
}  // namespace kvsplice::host
