#include "codec/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

namespace kvsplice::codec {
namespace {

using ::testing::HasSubstr;

std::string error_of(std::string_view text) {
  const auto parsed = parse_codec(text);
  if (parsed.ok()) return "parsed";
  EXPECT_EQ(parsed.error().kind, ErrorKind::usage);
  return parsed.error().message;
}

TEST(Pipeline, PrintingIsAFixedPoint) {
  for (const char* text :
       {"klt(scope=layer) | step(delta=0.6)", "pca(rank=16)", "f16",
        "k: rotate | svd(ratio=4) ; v: svd(rank=3)", "hadamard | uniform(bits=4,block=32)"}) {
    const auto parsed = parse_codec(text);
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    EXPECT_EQ(print(*parsed), text);
  }
}

TEST(Pipeline, WhiteSpaceIsFree) {
  const auto parsed = parse_codec("  klt ( scope = head )|\n step( delta=0.5 )  ");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(print(*parsed), "klt(scope=head) | step(delta=0.5)");
}

TEST(Pipeline, OnePipelineServesBothKinds) {
  const auto parsed = parse_codec("klt | f16");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->key, parsed->value);
  const auto twice = parse_codec("v: klt | f16 ; k: klt | f16");
  ASSERT_TRUE(twice.ok()) << twice.error().message;
  EXPECT_EQ(*parsed, *twice);
}

TEST(Pipeline, ErrorsSayWhatIsLegal) {
  EXPECT_THAT(error_of("wavelet"), HasSubstr("klt"));
  EXPECT_THAT(error_of("klt(order=3)"), HasSubstr("scope"));
  EXPECT_THAT(error_of("klt(scope=galaxy)"), HasSubstr("head, layer, model"));
  EXPECT_THAT(error_of("step(delta=-1)"), HasSubstr("..."));
  EXPECT_THAT(error_of("step(delta=nan)"), HasSubstr("nan"));
  EXPECT_THAT(error_of("step(delta)"), HasSubstr("key=value"));
  EXPECT_THAT(error_of("step(delta=1,delta=2)"), HasSubstr("twice"));
  EXPECT_THAT(error_of("klt(scope=head"), HasSubstr("closing"));
  EXPECT_THAT(error_of("klt | | step"), HasSubstr("empty"));
  EXPECT_THAT(error_of(""), HasSubstr("empty"));
  EXPECT_THAT(error_of("k: klt"), HasSubstr("both kinds"));
  EXPECT_THAT(error_of("k: klt ; k: klt"), HasSubstr("both kinds"));
}

TEST(Pipeline, NothingButEntropyFollowsAQuantiser) {
  EXPECT_THAT(error_of("step | klt"), HasSubstr("cannot follow"));
  EXPECT_THAT(error_of("step | uniform"), HasSubstr("cannot follow"));
}

RC_GTEST_PROP(Pipeline, AnyTextEitherParsesToAFixedPointOrFails, ()) {
  const std::vector<std::string> pieces = {"klt",  "step", "f16", "(",    ")",  "=",
                                           ",",    "|",    ";",   "k:",   "v:", "scope",
                                           "head", "0.5",  " ",   "delta"};
  std::string text;
  for (const auto& piece :
       *rc::gen::container<std::vector<std::string>>(rc::gen::elementOf(pieces))) {
    text += piece;
  }
  const auto parsed = parse_codec(text);
  if (!parsed.ok()) return;
  const auto again = parse_codec(print(*parsed));
  RC_ASSERT(again.ok());
  RC_ASSERT(*again == *parsed);
}

}  // namespace
}  // namespace kvsplice::codec
