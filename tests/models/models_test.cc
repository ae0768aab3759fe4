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
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("| " + name + " |")) return line;
  }
  return "none";
}

class Models : public ::testing::TestWithParam<Toy> {};

TEST_P(Models, DoWhatThePageSays) {
  const std::string& name = GetParam().name;
  const TempDir dir;
  must(ToyModel::write(GetParam(), dir.file("m.gguf")));
  Judge judge(dir.file("m.gguf"));
  const std::string found = cells(name, judge.verdict());
  if (const char* path = std::getenv("KVSPLICE_MODELS_ROWS")) {
    std::ofstream(path, std::ios::app) << found << "\n";
  } else {
    EXPECT_EQ(found, row_of_page(name));
  }
}

INSTANTIATE_TEST_SUITE_P(All, Models, ::testing::ValuesIn(toys()),
                         [](const auto& toy) { return family_name(toy.param.name); });

// Hyper-connections have no derivative here.
TEST(ModelsWithoutADerivative, DoWithoutFisher) {
  const auto all = toys();
  const auto toy =
      std::find_if(all.begin(), all.end(), [](auto& t) { return t.name == "kimi-k3"; });
  ASSERT_NE(toy, all.end());
  const TempDir dir;
  must(ToyModel::write(*toy, dir.file("m.gguf")));
  const host::Model model = must(host::Model::load(dir.file("m.gguf")));
  std::string text;
  for (const int32_t token : letters(2000)) text += char('a' + (token - 260));
  must(write_text(dir.file("text"), text));
  calibrate::CalibrateOptions options;
  options.tokens = 8 * 96;
  options.sequence = 96;
  options.threads = 1;
  const auto plain = must(calibrate::calibrate(model, {dir.file("text")}, options, {}));
  EXPECT_THAT(plain.notes, ::testing::Contains(::testing::HasSubstr("DSV4_HC_PRE")));
  EXPECT_THAT(print(plain.codec.text()), ::testing::Not(::testing::HasSubstr("fisher")));
  options.pipeline = "layers(history=1) | fisher | klt | step | range";
  const auto asked = calibrate::calibrate(model, {dir.file("text")}, options, {});
  ASSERT_FALSE(asked.ok());
  EXPECT_EQ(asked.error().kind, ErrorKind::unsupported);
  EXPECT_THAT(asked.error().message, ::testing::HasSubstr("leave 'fisher' out"));
}

// Each row has a toy: that each toy has a row is said above.
TEST(ModelsPage, NamesToysAlone) {
  std::ifstream page(std::string(KVSPLICE_SOURCE_DIR) + "/docs/models.md");
  size_t rows = 0;
  for (std::string line; std::getline(page, line);) {
    rows += line.starts_with("| ") && !line.starts_with("| model |");
  }
  EXPECT_GT(rows, 140u);
  EXPECT_EQ(rows, toys().size());
}

}  // namespace
}  // namespace kvsplice::testing
