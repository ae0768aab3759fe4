// What the table of stages says about itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "every_variant.h"

namespace kvsplice::codec {
namespace {

using testing::HasSubstr;

TEST(Metadata, NamesAndAliasesAreUnique) {
  std::set<std::string> seen;
  for (const StageInfo& info : stage_table()) {
    EXPECT_TRUE(seen.insert(info.name).second) << info.name;
    for (const auto& alias : info.aliases) EXPECT_TRUE(seen.insert(alias).second) << alias;
    EXPECT_EQ(find_stage(info.name), &info);
  }
  EXPECT_FALSE(seen.empty());
}

TEST(Metadata, EveryStageAndParameterIsDescribed) {
  const std::set<std::string> groups = {"predict", "warp", "transform", "quantise", "entropy"};
  for (const StageInfo& info : stage_table()) {
    EXPECT_TRUE(groups.count(info.group)) << info.name << ": " << info.group;
    EXPECT_GE(info.version, 1) << info.name;
    EXPECT_GE(info.summary.size(), 20u) << info.name;
    EXPECT_EQ(info.summary.back(), '.') << info.name;
    std::set<std::string> keys;
    for (const ParamInfo& p : info.params) {
      EXPECT_TRUE(keys.insert(p.name).second) << info.name << "." << p.name;
      EXPECT_GE(p.help.size(), 8u) << info.name << "." << p.name;
      EXPECT_FALSE(p.allowed.empty()) << info.name << "." << p.name;
    }
  }
}

TEST(Metadata, EveryStageHasACaseWithVariants) {
  std::set<std::string> covered;
  for (const StageCase& c : stage_cases()) {
    const StageInfo* info = find_stage(c.stage);
    ASSERT_NE(info, nullptr) << c.stage;
    covered.insert(info->name);
    EXPECT_FALSE(c.variants.empty()) << c.stage;
    for (const StageVariant& v : c.variants) {
      const auto text = parse_codec(v.pipeline);
      ASSERT_TRUE(text.ok()) << v.pipeline << ": " << text.error().message;
      bool uses = false;
      for (Kind kind : {Kind::key, Kind::value}) {
        for (const auto& stage : text->of(kind)) uses |= find_stage(stage.name) == info;
      }
      EXPECT_TRUE(uses) << c.stage << " is not in " << v.pipeline;
      EXPECT_EQ(parse_codec(print(*text)).value(), *text) << v.pipeline;
    }
  }
  for (const StageInfo& info : stage_table()) EXPECT_TRUE(covered.count(info.name)) << info.name;
}

TEST(Metadata, UnknownKeysAreRefusedWithTheLegalOnes) {
  for (const StageInfo& info : stage_table()) {
    const auto made = info.make({{"no_such_key", "1"}}, info.version);
    ASSERT_FALSE(made.ok()) << info.name;
    EXPECT_EQ(made.error().kind, ErrorKind::usage);
    EXPECT_THAT(made.error().message, HasSubstr("no_such_key"));
    for (const ParamInfo& p : info.params) EXPECT_THAT(made.error().message, HasSubstr(p.name));
  }
}

TEST(Metadata, NonsenseValuesAreRefusedWithTheLegalRange) {
  for (const StageInfo& info : stage_table()) {
    for (const ParamInfo& p : info.params) {
      for (const char* value : {"", "nan", "1e99", "-7", "zebra", "0x10"}) {
        const auto made = info.make({{p.name, value}}, info.version);
        ASSERT_FALSE(made.ok()) << info.name << "(" << p.name << "=" << value << ")";
        EXPECT_THAT(made.error().message, HasSubstr(p.allowed));
      }
    }
  }
}

TEST(Metadata, DefaultsAreLegal) {
  for (const StageInfo& info : stage_table()) {
    for (const ParamInfo& p : info.params) {
      if (p.default_value.empty()) continue;
      const auto made = info.make({{p.name, p.default_value}}, info.version);
      // A stage may need another parameter, but must not object to this one.
      const std::string said = made.ok() ? "" : made.error().message;
      EXPECT_THAT(said, Not(HasSubstr("is not allowed")));
    }
  }
}

TEST(Metadata, QuantisersRefuseWhatIsNotFinite) {
  Unit unit{Kind::value, 0, {8}, {}};
  Shared shared;
  FitContext context{{unit, {}, {}}};
  context.shared = &shared;
  for (const StageInfo& info : stage_table()) {
    if (info.group != "quantise") continue;
    Rows rows{generate_rows(64, 1, 8, 1, 2), {}, false, 0};
    const auto fitted = fit_stage(info.name, {}, rows, context);
    ASSERT_TRUE(fitted.ok()) << info.name;
    const Stage* stage = fitted->get();
    rows.values(9, 2) = std::nanf("");
    ByteWriter side;
    const auto encoded = stage->encode(rows, context, side);
    ASSERT_FALSE(encoded.ok()) << info.name;
    EXPECT_THAT(encoded.error().message, HasSubstr("row 9")) << info.name;
  }
}

}  // namespace
}  // namespace kvsplice::codec
