// Models that turn keys by another table in long contexts: --ctx says which are meant.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/tiny_model_test.h"
#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class LongRope : public ::testing::Test {
 protected:
  void SetUp() override {
    kvsplice::testing::TinyOptions o;
    o.long_rope = true;  // behind 300 tokens
    kvsplice::testing::TinyModel(o).save(tmp_ / "m.gguf");
  }

  Folder tmp_;
  const std::string m_ = " -m " + tmp_ / "m.gguf" + " ";
  const std::string how_ =
      m_ + "--temp 0 --quiet --ignore-end --threads 1 -n 20 -p abcdefghijklmnop ";
};

TEST_F(LongRope, StatesOfLongContextsArePackedByTheirTable) {
  must("run" + how_ + "--ctx 400 --lossless --save " + tmp_ / "a.kvz");
  must("unpack " + tmp_ / "a.kvz" + m_ + "--ctx 400 -o " + tmp_ / "a.state");
  const std::string pack = "pack " + tmp_ / "a.state" + m_ + "--lossless -o " + tmp_ / "b.kvz";
  EXPECT_THAT(must(pack), HasSubstr("in a longer context (--ctx)"));
  EXPECT_THAT(must(pack + " --ctx 400"), Not(HasSubstr("warning")));
  EXPECT_THAT(must(pack + " --ctx 300"), HasSubstr("in a longer context (--ctx)"));
}

TEST_F(LongRope, CodecsAreOfOneTable) {
  const auto calibrate = [&](const std::string& how, const std::string& name) {
    must("calibrate" + m_ + "-f " + sample("fiction") + " --tokens 384 --sequence 96 " + how +
         " --work " + tmp_ / "work" +  // rows of the other table are there
         " --codec 'klt | step(delta=0.3) | range' -o " + tmp_ / name);
    return " --codec " + tmp_ / name + " ";
  };
  const std::string brief = calibrate("", "short.gguf"),
                    lengthy = calibrate("--ctx 400", "long.gguf");
  must("run" + how_ + "--ctx 400" + lengthy + "--save " + tmp_ / "a.kvz");
  must("unpack " + tmp_ / "a.kvz" + m_ + "--ctx 400" + lengthy + "-o " + tmp_ / "a.state");
  const std::string pack = "pack " + tmp_ / "a.state" + m_ + "-o " + tmp_ / "b.kvz" + " --ctx 400";
  must(pack + lengthy);
  refused(pack + brief, 1, "turning by");
  refused("run" + how_ + "--ctx 400" + brief + "--save " + tmp_ / "c.kvz", 1, "turning by");
  must("run" + how_ + "--ctx 200" + brief + "--save " + tmp_ / "c.kvz");
}

}  // namespace
}  // namespace kvsplice::cli
