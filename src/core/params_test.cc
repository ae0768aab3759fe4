#include "core/params.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvsplice {
namespace {

using ::testing::HasSubstr;

struct Sample {
  int bits = 4;
  double delta = 0.5;
  std::string scope = "layer";
  std::optional<int> rank;
  std::vector<int> ks = {8, 16};

  template <class V>
  void visit(V&& v) {
    v("bits", bits, "bits per code", Range{2, 8});
    v("delta", delta, "step", Range{0, 10});
    v("scope", scope, "what shares a basis", Choice{"head", "layer"});
    v("rank", rank, "columns kept", Range{1, 1000});
    v("ks", ks, "ranks to try", Range{1, 1000});
  }
};

Result<Sample> parsed(const KeyValues& pairs) { return parse_params<Sample>("sample", pairs); }

TEST(Params, DefaultsStay) {
  const Sample s = parsed({}).value();
  EXPECT_EQ(s.bits, 4);
  EXPECT_EQ(s.delta, 0.5);
  EXPECT_EQ(s.scope, "layer");
  EXPECT_FALSE(s.rank.has_value());
}

TEST(Params, ValuesReplaceDefaults) {
  const Sample s =
      parsed({{"bits", "8"}, {"delta", "1e-3"}, {"scope", "head"}, {"rank", "16"}}).value();
  EXPECT_EQ(s.bits, 8);
  EXPECT_EQ(s.delta, 1e-3);
  EXPECT_EQ(s.scope, "head");
  EXPECT_EQ(s.rank, 16);
}

TEST(Params, LimitsBelongToTheRange) {
  EXPECT_TRUE(parsed({{"bits", "2"}}).ok());
  EXPECT_TRUE(parsed({{"bits", "8"}}).ok());
  EXPECT_EQ(parsed({{"bits", "9"}}).error().message,
            "sample.bits = '9' is not allowed; legal: 2 ... 8");
  EXPECT_FALSE(parsed({{"bits", "1"}}).ok());
  EXPECT_FALSE(parsed({{"rank", "0"}}).ok());
}

TEST(Params, WhatIsNoNumberIsRefused) {
  for (const char* text : {"nan", "-nan", "inf", "", " 1", "1 ", "0x1", "1,5", "1e999"}) {
    EXPECT_FALSE(parsed({{"delta", text}}).ok()) << text;
  }
  for (const char* text : {"4.0", "+4", "99999999999999999999", "four"}) {
    EXPECT_FALSE(parsed({{"bits", text}}).ok()) << text;
  }
}

TEST(Params, ListsAreSeparatedByCommas) {
  EXPECT_EQ(parsed({{"ks", "4"}})->ks, std::vector<int>({4}));
  EXPECT_EQ(parsed({{"ks", "4,1000,1"}})->ks, std::vector<int>({4, 1000, 1}));
  for (const char* text : {"", ",", "4,", "4,,5", "4, 5", "4,1001", "x"}) {
    EXPECT_FALSE(parsed({{"ks", text}}).ok()) << text;
  }
}

TEST(Params, ChoicesAreListed) {
  EXPECT_EQ(parsed({{"scope", "model"}}).error().message,
            "sample.scope = 'model' is not allowed; legal: head, layer");
}

TEST(Params, UnknownKeysListTheKnownOnes) {
  const Error error = parsed({{"width", "3"}}).error();
  EXPECT_EQ(error.kind, ErrorKind::usage);
  EXPECT_EQ(error.message, "sample has no parameter 'width'; legal: bits, delta, scope, rank, ks");
}

TEST(Params, DescriptionPrintsDefaultsThatParse) {
  auto list = describe<Sample>();
  ASSERT_EQ(list.size(), 5u);
  EXPECT_EQ(list[0].type, std::string("integer"));
  EXPECT_EQ(list[0].allowed, "2 ... 8");
  EXPECT_EQ(list[2].allowed, "head, layer");
  EXPECT_EQ(list[3].default_value, "");
  EXPECT_EQ(list[4].default_value, "8,16");
  list.erase(list.begin() + 3);  // has no default
  for (const auto& p : list) EXPECT_TRUE(parsed({{p.name, p.default_value}}).ok()) << p.name;
}

}  // namespace
}  // namespace kvsplice
