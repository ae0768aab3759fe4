// Every option of every verb that takes a number, found in the program's own help: what is no
// number, or outside the range that help names, is wrong usage, and nothing is done.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

struct NumberOption {
  std::string verb, name, low, high;
  bool whole;
};

std::vector<std::string> verbs_of(const std::string& program) {
  std::vector<std::string> verbs;
  const std::string help = run(program + " --help").text;
  std::istringstream lines(help.substr(std::min(help.find("Subcommands:"), help.size())));
  const std::regex verb("^  ([a-z-]+) .*");
  for (std::string line; std::getline(lines, line);) {
    std::smatch found;
    if (std::regex_match(line, found, verb)) verbs.push_back(program + " " + found[1].str());
  }
  return verbs;
}

std::vector<NumberOption> options_of(const std::string& verb) {
  std::vector<NumberOption> options;
  const std::string help = run(verb + " --help").text;
  const std::regex option(R"((--[a-z0-9-]+) (integers?|number) \((\S+) \.\.\. (\S+)\))");
  for (std::sregex_iterator it(help.begin(), help.end(), option), end; it != end; ++it) {
    const auto& m = *it;
    options.push_back({verb, m[1], m[3], m[4], m[2] != "number"});
  }
  return options;
}

std::vector<NumberOption> all_options() {
  std::vector<NumberOption> all;
  std::vector<std::string> verbs = verbs_of("");
  const auto studies = verbs_of("experiment");
  verbs.insert(verbs.end(), studies.begin(), studies.end());
  for (const std::string& verb : verbs) {
    const auto some = options_of(verb);
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

// In a folder of its own, which must stay empty.
void expect_refused(const NumberOption& o, const std::string& value) {
  const Folder here;
  const std::string out = o.verb.find("experiment ") != std::string::npos ? " -o out" : "";
  const std::string command = o.verb + out + " " + o.name + " '" + value + "'";
  const Outcome outcome =
      shell("cd " + here / "" + " && timeout 20 " + KVSPLICE_BINARY + " " + command);
  EXPECT_EQ(outcome.code, 2) << command << "\n" << outcome.text;
  EXPECT_EQ(std::count(outcome.text.begin(), outcome.text.end(), '\n'), 1) << outcome.text;
  EXPECT_THAT(outcome.text, HasSubstr("legal: " + o.low + " ... " + o.high)) << command;
  EXPECT_TRUE(std::filesystem::is_empty(here / "")) << command;
}

TEST(NumberOptions, WhatTheyDoNotMeanIsRefused) {
  const auto options = all_options();
  ASSERT_GT(options.size(), 60u);
  for (const NumberOption& o : options) {
    for (const char* value : {"-2", "nan", "1e30", "99999999999999999999", "12abc", ""}) {
      expect_refused(o, value);
    }
    if (o.low != "-1") expect_refused(o, "-1");
    if (o.whole) expect_refused(o, "2.5");
    if (o.whole) expect_refused(o, "0x10");
  }
}

// The walk would not see an option that is declared without its range.
TEST(NumberOptions, AllAreDeclaredWithTheirRange) {
  for (const std::string& verb : verbs_of("")) {
    const std::string help = run(verb + " --help").text;
    for (const char* type : {"INT", "UINT", "FLOAT"}) {
      EXPECT_EQ(help.find(std::string(" ") + type + " "), std::string::npos) << verb << "\n"
                                                                             << help;
    }
  }
}

TEST(NumberOptions, ListsOfNumbersAreCheckedToo) {
  for (const char* value :
       {"-1", "x", "", "1,", ",1", "1-", "3-1", "1e3", "0-99999999999", "1 2"}) {
    for (const char* option : {"extract --layers", "extract --heads", "analyse --layers"}) {
      const Outcome outcome = run(std::string(option) + " '" + value + "'");
      EXPECT_EQ(outcome.code, 2) << option << " " << value << "\n" << outcome.text;
      EXPECT_THAT(outcome.text, HasSubstr("legal: numbers and ranges like 0,7-9")) << value;
    }
  }
}

TEST(NumberOptions, RunGeneratesWithoutLimitForMinusOne) {
  EXPECT_THAT(run("run --help").text, HasSubstr("-1: until the context is full"));
}

}  // namespace
}  // namespace kvsplice::cli
