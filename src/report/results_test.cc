#include "report/results.h"

#include <gmock/gmock.h>

#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/bytes.h"
#include "core/file.h"
#include "core/temporary_folder.h"
#include "core/version.h"

namespace kvsplice::report {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class ResultsTest : public testing::Test {
 protected:
  fs::path write_results(const std::string& name) {
    auto results = Results::create(root_ / name, "demo", "kvsplice demo --name '" + name + "'");
    EXPECT_TRUE(results.ok());
    EXPECT_TRUE(write_text(root_ / "input.txt", "some text").ok());
    EXPECT_TRUE(results->add_input((root_ / "input.txt").string()).ok());
    results->note("seed", 7.0);
    results->note("codec <i>", "first");
    results->note("codec <i>", "pca(rank=16)");
    results->note("nothing", std::nan(""));
    results->finding("The finding of <b>" + name + "</b>.");
    Table table("numbers", "Numbers of " + name, {{"cache"}, {"kld", 3}, {"hidden", -1, false}});
    table.add({std::string("<script>alert(1)</script>"), 0.25, int64_t{3}});
    table.add({std::string("q8_0"), Cell{}, Cell{}});
    EXPECT_TRUE(results->add(table).ok());
    const Figure figure{"curve", "A <caption>.", {{"t", "x", "y", {{"s", {1, 2}, {3, 4}}}}}};
    const Result<> drawn = results->add(figure);
    EXPECT_TRUE(drawn.ok()) << drawn.error().message;
    EXPECT_FALSE(fs::exists(root_ / name / "manifest.json"));  // it is written last
    EXPECT_TRUE(results->finish().ok());
    return root_ / name;
  }

  std::string page_error(const std::vector<fs::path>& dirs) {
    const Result<> done = write_page(dirs, root_ / "page.html", "T");
    EXPECT_FALSE(fs::exists(root_ / "page.html"));
    return done.ok() ? "" : done.error().message;
  }

  const TemporaryFolder folder_ = TemporaryFolder::create("test").value();
  const fs::path root_ = folder_.path();
};

TEST_F(ResultsTest, ManifestSaysHowItWasMade) {
  const fs::path dir = write_results("one");
  const json m = json::parse(*read_text(dir / "manifest.json"));
  EXPECT_EQ(m["format"], 1);
  EXPECT_EQ(m["program"], "kvsplice");
  EXPECT_EQ(m["version"], version());
  EXPECT_EQ(m["verb"], "demo");
  EXPECT_EQ(m["command"], "kvsplice demo --name 'one'");
  std::string digits = m["started"];
  for (char& c : digits) c = std::isdigit(static_cast<unsigned char>(c)) ? '9' : c;
  EXPECT_EQ(digits, "9999-99-99T99:99:99Z");
  EXPECT_GE(m["finished"].get<std::string>(), m["started"].get<std::string>());
  EXPECT_EQ(m["findings"], json({"The finding of <b>one</b>."}));
  EXPECT_EQ(m["settings"],
            json({{"seed", 7.0}, {"codec <i>", "pca(rank=16)"}, {"nothing", nullptr}}));
  const std::string text = "some text";
  EXPECT_EQ(m["inputs"][0]["bytes"], text.size());
  EXPECT_EQ(m["inputs"][0]["xxh3_128"],
            hash128_hex({reinterpret_cast<const uint8_t*>(text.data()), text.size()}));
  EXPECT_EQ(m["tables"][0]["name"], "numbers");
  EXPECT_EQ(m["figures"][0]["caption"], "A <caption>.");
  EXPECT_GE(m["machine"]["cores"], 1);
  EXPECT_GT(m["machine"]["memory_bytes"], 1 << 20);
  for (const char* key : {"cpu", "os", "compiler", "simd"}) EXPECT_NE(m["machine"][key], "") << key;
  for (const char* file : {"numbers.csv", "numbers.json", "curve.svg", "curve.png"}) {
    EXPECT_TRUE(fs::exists(dir / file)) << file;
  }
}

TEST_F(ResultsTest, RefusesNames) {
  auto results = Results::create(root_ / "r", "demo", "");
  ASSERT_TRUE(results.ok());
  for (const char* name : {"", "../up", "a b", ".hidden", "manifest"}) {
    EXPECT_FALSE(results->add(Table(name, "t", {{"a"}})).ok()) << name;
  }
  EXPECT_TRUE(results->add(Table("twice", "t", {{"a"}})).ok());
  const Result<> twice = results->add(Table("twice", "t", {{"a"}}));
  ASSERT_FALSE(twice.ok());
  EXPECT_THAT(twice.error().message, HasSubstr("'twice'"));
}

TEST_F(ResultsTest, RefusesWhereItCannotWrite) {
  ASSERT_TRUE(write_text(root_ / "file", "x").ok());
  const auto results = Results::create(root_ / "file" / "dir", "demo", "");
  ASSERT_FALSE(results.ok());
  EXPECT_EQ(results.error().kind, ErrorKind::io);
}

TEST_F(ResultsTest, WhatWasThereStaysUntilSomethingIsAdded) {
  const fs::path dir = write_results("one");
  const std::string before = *read_text(dir / "manifest.json");
  { EXPECT_TRUE(Results::create(dir, "demo", "").ok()); }
  EXPECT_EQ(*read_text(dir / "manifest.json"), before);
  auto results = Results::create(dir, "demo", "");
  ASSERT_TRUE(results.ok());
  const auto second = Results::create(dir, "demo", "");
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.error().message, HasSubstr("another program writes to it"));
  ASSERT_TRUE(results->add(Table("other", "t", {{"a"}})).ok());
  EXPECT_FALSE(fs::exists(dir / "manifest.json")) << "it would describe other files";
  ASSERT_TRUE(results->finish().ok());
}

TEST_F(ResultsTest, PageHoldsAllDirectories) {
  const auto one = write_results("one"), two = write_results("two");
  const Result<> done = write_page({one, two}, root_ / "page.html", "<Title>");
  ASSERT_TRUE(done.ok()) << done.error().message;
  const std::string page = *read_text(root_ / "page.html");
  for (const char* part :
       {"<title>&lt;Title&gt;</title>", "Numbers of one", "Numbers of two",
        "The finding of &lt;b&gt;two&lt;/b&gt;.", "href=\"#s2\"", "<figure id=\"s1f1\">",
        "<figure id=\"s2f1\">", "0.250", "codec &lt;i&gt;", "kvsplice demo --name &#39;two&#39;"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(page, Not(HasSubstr(">hidden<")));
}

TEST_F(ResultsTest, PageStandsAlone) {
  const auto one = write_results("one"), two = write_results("two");
  ASSERT_TRUE(write_page({one, two}, root_ / "page.html", "T").ok());
  const std::string page = *read_text(root_ / "page.html");
  for (const char* outside : {"http", "src=", "@import", "url(h", "<link", "//"}) {
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  }
  // Two figures with the same ids inside have different ones in the page.
  std::set<std::string> ids;
  const std::string id = " id=\"";
  for (size_t at = 0; (at = page.find(id, at)) != std::string::npos;) {
    at += id.size();
    const std::string value = page.substr(at, page.find('"', at) - at);
    EXPECT_TRUE(ids.insert(value).second) << value;
  }
  EXPECT_GT(ids.size(), 10u);
}

TEST_F(ResultsTest, PageOfOneDirectoryHasNoContents) {
  ASSERT_TRUE(write_page({write_results("one")}, root_ / "page.html", "T").ok());
  EXPECT_THAT(*read_text(root_ / "page.html"), Not(HasSubstr("<nav")));
}

TEST_F(ResultsTest, BrokenManifestsAreNamed) {
  const fs::path dir = write_results("one"), file = dir / "manifest.json";
  const json sound = json::parse(*read_text(file));
  const std::string name = file.string();
  const auto error_with = [&](const std::string& text) {
    EXPECT_TRUE(write_text(file, text).ok());
    return page_error({dir});
  };
  for (const char* text : {"", "{", "[]", "7", "null", "{\"format\": 1}", "\xff"}) {
    EXPECT_THAT(error_with(text), HasSubstr(name)) << text;
  }
  for (const auto& [key, value] : sound.items()) {
    if (key == "program") continue;  // not read
    json broken = sound;
    broken.erase(key);
    EXPECT_THAT(error_with(broken.dump()), HasSubstr("'" + key + "' is missing"));
    broken[key] = json::array({json::array()});  // no field looks like this
    EXPECT_THAT(error_with(broken.dump()), HasSubstr(name)) << key;
  }
  json other = sound;
  other["format"] = 2;
  EXPECT_THAT(error_with(other.dump()), HasSubstr("format 2"));
  other = sound;
  other["tables"][0]["name"] = "../one/numbers";
  EXPECT_THAT(error_with(other.dump()), HasSubstr("plain file name"));
  other = sound;
  other["tables"][0]["columns"][1]["decimals"] = 1000000;
  EXPECT_THAT(error_with(other.dump()), HasSubstr("-1 ... 20"));
}

TEST_F(ResultsTest, BrokenFilesAreNamed) {
  const fs::path dir = write_results("one");
  EXPECT_THAT(page_error({root_ / "absent"}), HasSubstr("absent"));
  EXPECT_THAT(page_error({}), HasSubstr("at least one"));
  const auto spoil = [&](const char* name, const char* text) {
    const auto kept = *read_text(dir / name);
    EXPECT_TRUE(write_text(dir / name, text).ok());
    const std::string message = page_error({dir});
    EXPECT_TRUE(write_text(dir / name, kept).ok());
    EXPECT_THAT(message, HasSubstr((dir / name).string())) << text;
  };
  for (const char* text :
       {"", "{}", "[1]", "[{}]", "[{\"cache\": [], \"kld\": 1, \"hidden\": 1}]"}) {
    spoil("numbers.json", text);
  }
  spoil("curve.svg", "<svg><script>alert(1)</script></svg>");
  spoil("curve.svg", "");
  fs::remove(dir / "curve.svg");
  EXPECT_THAT(page_error({dir}), HasSubstr("curve.svg"));
}

}  // namespace
}  // namespace kvsplice::report
