// Every toy model does what docs/models.md says of it. Where it does something else, or llama.cpp
// builds other graphs than the pinned one, the test names the model and what changed;
// tools/models_page then writes the page anew.
#include <gmock/gmock.h>

#include "judge.h"

namespace kvsplice::testing {
namespace {

std::string cells(const std::string& name, const Verdict& v) {
  const std::string front = "| " + name + " | ";
  if (!v.refused.empty()) return front + "refused: " + v.refused + " | | | |";
  return front + v.caches + " | " + v.session + " | " + v.codec + " | " + v.gradients + " |";
}

std::string row_of_page(const std::string& name) {
  std::ifstream page(std::string(KVSPLICE_SOURCE_DIR) + "/docs/models.md");
  bool all = false;  // behind the head of the table of all models
  for (std::string line; std::getline(page, line);) {
    all |= line.starts_with("| model |");
    if (all && line.starts_with("| " + name + " |")) return line;
  }
  return "none";
}

class Models : public ::testing::TestWithParam<Toy> {
 protected:
  void SetUp() override { must(ToyModel::write(GetParam(), path_)); }

  // Whether somebody asked for the page's rows, who was given this one.
  static bool gave(const std::string& row) {
    const char* path = std::getenv("KVSPLICE_MODELS_ROWS");
    if (path != nullptr) std::ofstream(path, std::ios::app) << row << "\n";
    return path != nullptr;
  }

  const std::string& name() const { return GetParam().name; }

  const TempDir dir_;
  const std::string path_ = dir_.file("m.gguf");
};

TEST_P(Models, DoWhatThePageSays) {
  const std::string found = cells(name(), Judge(path_).verdict());
  if (gave(found)) return;
  EXPECT_EQ(found, row_of_page(name()));
}

// The ten that most people run, by toys that stand for them.
const std::pair<const char*, const char*> kMostUsed[] = {
    {"llama", "Llama 2 and 3, Mistral 7B"},
    {"qwen2", "Qwen 2 and 2.5"},
    {"qwen3", "Qwen 3"},
    {"qwen3moe", "Qwen 3 with experts"},
    {"qwen35", "Qwen 3.5"},
    {"gemma3", "Gemma 3"},
    {"gpt-oss", "gpt-oss"},
    {"phi3", "Phi 3 and 4"},
    {"glm4moe", "GLM 4.5 to 4.7"},
    {"deepseek2", "DeepSeek V2, V3, R1, Kimi K2"}};

std::vector<Toy> most_used() {
  std::vector<Toy> ten;
  for (const Toy& toy : toys()) {
    for (const auto& [name, family] : kMostUsed) {
      if (toy.name == name) ten.push_back(toy);
    }
  }
  return ten;
}

std::string family_of(const std::string& toy) {
  for (const auto& [name, family] : kMostUsed) {
    if (toy == name) return family;
  }
  return "none";
}

// The page has the figures, which differ a little between machines.
using Trials = Models;
TEST_P(Trials, PackRestoreAndStayNear) {
  const Trial found = Judge(path_).trial();
  EXPECT_EQ(found.session, "same");
  EXPECT_GT(found.lossless, 1);
  EXPECT_LT(found.lossless, 2);
  EXPECT_GT(found.coded, 2);
  EXPECT_LT(found.coded, 10);
  EXPECT_GT(found.divergence, 0);
  EXPECT_LT(found.divergence, 0.1);
  gave(fmt::format("| {} | {} | {:.2f} | {} | {:.1f} | {:.5f} |", family_of(name()), name(),
                   found.lossless, found.session, found.coded, found.divergence));
}

INSTANTIATE_TEST_SUITE_P(All, Models, ::testing::ValuesIn(toys()),
                         [](const auto& toy) { return family_name(toy.param.name); });
INSTANTIATE_TEST_SUITE_P(Ten, Trials, ::testing::ValuesIn(most_used()),
                         [](const auto& toy) { return family_name(toy.param.name); });

// Gated hyper-connections have no derivative here. As long as nothing is compressed, Qwen 4's
// sparse attention has no use for its second cache, for which the model would be refused.
TEST(ModelsWithoutADerivative, DoWithoutFisher) {
  const auto all = toys();
  const auto found =
      std::find_if(all.begin(), all.end(), [](auto& t) { return t.name == "qwen4exp"; });
  ASSERT_NE(found, all.end());
  Toy toy = *found;
  toy.keys.at("attention.compress_ratios").integers = {0, 0, 0, 0};
  const TempDir dir;
  must(ToyModel::write(toy, dir.file("m.gguf")));
  const host::Model model = must(host::Model::load(dir.file("m.gguf")));
  std::string text;
  for (const int32_t token : letters(2000)) text += char('a' + (token - 260));
  must(write_text(dir.file("text"), text));
  calibrate::CalibrateOptions options;
  options.tokens = 8 * 96;
  options.sequence = 96;
  options.threads = 1;
  const auto plain = must(calibrate::calibrate(model, {dir.file("text")}, options, {}));
  EXPECT_THAT(plain.notes, ::testing::Contains(::testing::HasSubstr("DSV4_HC_")));
  EXPECT_THAT(print(plain.codec.text()), ::testing::Not(::testing::HasSubstr("fisher")));
  options.pipeline = "layers(history=1) | fisher | klt | step | range";
  const auto asked = calibrate::calibrate(model, {dir.file("text")}, options, {});
  ASSERT_FALSE(asked.ok());
  EXPECT_EQ(asked.error().kind, ErrorKind::unsupported);
  EXPECT_THAT(asked.error().message, ::testing::HasSubstr("leave 'fisher' out"));
}

// Each row has a toy: that each toy has a row is said above. The ten have one more.
TEST(ModelsPage, NamesToysAlone) {
  std::ifstream page(std::string(KVSPLICE_SOURCE_DIR) + "/docs/models.md");
  size_t rows = 0;
  for (std::string line; std::getline(page, line);) {
    rows +=
        line.starts_with("| ") && !line.starts_with("| model |") && !line.starts_with("| family |");
  }
  EXPECT_GT(rows, 140u);
  EXPECT_EQ(rows, toys().size() + most_used().size());
  EXPECT_EQ(most_used().size(), std::size(kMostUsed));
}

}  // namespace
}  // namespace kvsplice::testing
