// Which model something was made with: the fingerprint tells, the name does not, in every verb.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/tiny_model_test.h"
#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::HasSubstr;

class Identity : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    made = new Folder;
    kvsplice::testing::TinyOptions options;
    save(options, "original");
    options.name = "renamed";
    save(options, "renamed");
    options.rope_base = 20000;
    save(options, "turned");
    spill(*made / "text", std::string(4000, 'a') + std::string(4000, 'b'));
    for (const std::string model : {"original", "renamed", "turned"}) {
      must("extract -m " + gguf(model) + " -f " + *made / "text" + " -n 128 -o " + dump(model));
    }
    must("fit " + dump("original") + codec_stages() + " -o " + *made / "codec.gguf");
    must("pack -m " + gguf("original") + codec() + text() + " -o " + *made / "s.kvz");
    must("pack -m " + gguf("original") + " --lossless" + text() + " -o " + *made / "l.kvz");
  }
  static void TearDownTestSuite() { delete made; }

  static void save(const kvsplice::testing::TinyOptions& options, const std::string& name) {
    kvsplice::testing::TinyModel(options).save(gguf(name));
  }
  static std::string gguf(const std::string& model) { return *made / (model + ".gguf"); }
  static std::string dump(const std::string& model) { return *made / (model + ".dump"); }
  static std::string codec() { return " --codec " + *made / "codec.gguf"; }
  static std::string codec_stages() { return " --codec 'klt | step | range'"; }
  static std::string text() { return " -f " + *made / "text" + " -n 64"; }

  // What can be done with things of the original and a model, as file or dump, besides.
  static std::vector<std::string> uses(const std::string& model) {
    const std::string m = " -m " + gguf(model), out = " -o " + *made / "out";
    const std::string session = *made / "s.kvz", lossless = *made / "l.kvz";
    return {"pack" + m + codec() + text() + out,
            "unpack " + session + m + codec() + out,
            "unpack " + lossless + m + out,
            "run" + m + codec() + " --load " + session + " -p b -n 2",
            "run" + m + " --load " + lossless + " -p b -n 2",
            "quality" + m + " -f " + *made / "text" + " --ctx 64 --chunks 1 --cache " +
                *made / "codec.gguf" + out,
            "fit " + dump("original") + " " + dump(model) + codec_stages() + out,
            "fit " + dump("original") + m + codec_stages() + out,
            "evaluate " + dump(model) + " " + *made / "codec.gguf" + out,
            "evaluate " + dump("original") + m + " " + *made / "codec.gguf" + out};
  }

  static inline Folder* made = nullptr;
};

TEST_F(Identity, ARenamedModelIsTheSame) {
  for (const std::string& arguments : uses("renamed")) {
    std::filesystem::remove_all(*made / "out");
    must(arguments);
  }
}

TEST_F(Identity, OneThatRotatesOtherwiseIsAnother) {
  for (const std::string& arguments : uses("turned")) {
    std::filesystem::remove_all(*made / "out");
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 1) << arguments << "\n" << outcome.text;
    EXPECT_THAT(outcome.text, HasSubstr("model tiny (")) << arguments;
    EXPECT_THAT(outcome.text, HasSubstr(" is renamed (")) << arguments;
  }
}

}  // namespace
}  // namespace kvsplice::cli
