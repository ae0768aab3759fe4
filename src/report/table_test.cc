#include "report/table.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "core/random.h"
#include "report/text.h"

namespace kvsplice::report {
namespace {

using testing::HasSubstr;
using testing::Not;

// A field without value is nullopt; RFC 4180 alone could not tell it from empty text.
using Field = std::optional<std::string>;

std::vector<std::vector<Field>> parse_csv(const std::string& text) {
  std::vector<std::vector<Field>> rows(1, {std::nullopt});
  bool inside = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    Field& field = rows.back().back();
    if (inside && c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
      *field += '"';
      ++i;
    } else if (c == '"') {
      inside = !inside;
      if (!field) field = "";
    } else if (inside) {
      *field += c;
    } else if (c == ',') {
      rows.back().push_back(std::nullopt);
    } else if (c == '\n') {
      rows.push_back({std::nullopt});
    } else {
      field = field.value_or("") + c;
    }
  }
  rows.pop_back();  // after the last line end
  return rows;
}

const std::vector<std::string> kTexts = {"plain",      "",           "comma, inside",
                                         "\"quoted\"", "two\nlines", "cr\r\nlf",
                                         " blanks ",   "Δ = 0.6",    ",\",\n\"\""};

TEST(Table, CsvReadsBackText) {
  Table table("t", "T", {{"a,b"}, {"second"}});
  for (const auto& text : kTexts) table.add({text, Cell{}});
  const auto rows = parse_csv(table.csv());
  ASSERT_EQ(rows.size(), kTexts.size() + 1);
  EXPECT_EQ(rows[0], (std::vector<Field>{"a,b", "second"}));
  for (size_t i = 0; i < kTexts.size(); ++i) {
    EXPECT_EQ(rows[i + 1], (std::vector<Field>{kTexts[i], std::nullopt}));
  }
}

std::vector<double> awkward_doubles() {
  std::vector<double> values = {0.0, -0.0, 0.1, 1.0 / 3, 1e300, 5e-324, -1.5, 1e16, 123456789.123};
  Random random(7);
  while (values.size() < 500) {
    double value;
    const uint64_t bits = random.next64();
    std::memcpy(&value, &bits, sizeof value);
    if (std::isfinite(value)) values.push_back(value);
  }
  return values;
}

TEST(Table, CsvReadsBackEveryDouble) {
  Table table("t", "T", {{"x", 1}});  // decimals are for people only
  const auto values = awkward_doubles();
  for (const double v : values) table.add({v});
  const auto rows = parse_csv(table.csv());
  for (size_t i = 0; i < values.size(); ++i) {
    const double back = std::strtod(rows[i + 1][0]->c_str(), nullptr);
    EXPECT_EQ(std::memcmp(&back, &values[i], sizeof back), 0) << *rows[i + 1][0];
  }
}

TEST(Table, JsonHoldsTheRows) {
  Table table("t", "T", {{"name"}, {"x", 0}, {"n"}, {"hidden", -1, false}});
  table.add({std::string("a\"b"), 0.1, int64_t{1} << 60, Cell{}});
  table.add({std::string("\xff broken"), std::nan(""), int64_t{-1}, 2.0});
  const auto rows = nlohmann::json::parse(table.json());
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0]["name"], "a\"b");
  EXPECT_EQ(rows[0]["x"].get<double>(), 0.1);
  EXPECT_EQ(rows[0]["n"].get<int64_t>(), int64_t{1} << 60);
  EXPECT_TRUE(rows[0]["hidden"].is_null());
  EXPECT_TRUE(rows[1]["x"].is_null());  // JSON has no NaN
  EXPECT_TRUE(rows[1]["hidden"].is_number_float());
}

TEST(Table, TextAlignsColumns) {
  Table table("t", "A title", {{"name"}, {"x", 2}, {"n"}, {"hidden", -1, false}});
  table.add({std::string("Δ=0.6"), 3.14159, int64_t{7}, 1.0});
  table.add({std::string("long name"), 1234.5, int64_t{12345}, 1.0});
  table.add({std::string("x\033[31m\n"), Cell{}, Cell{}, 1.0});
  EXPECT_EQ(table.text(),
            "A title\n\n"
            "name             x      n\n"
            "---------  -------  -----\n"
            "Δ=0.6         3.14      7\n"
            "long name  1234.50  12345\n"
            "x [31m\n");
}

TEST(Table, TextOfExtremes) {
  Table table("t", "T", {{"x", 2}});
  for (const double v : {1e300, -HUGE_VAL, std::nan(""), 1e-12}) table.add({v});
  EXPECT_EQ(table.text(), "T\n\n     x\n------\n1e+300\n  -inf\n   nan\n  0.00\n");
  EXPECT_EQ(Table("e", "Empty", {{"a"}, {"b"}}).text(), "Empty\n\na  b\n-  -\n");
}

TEST(Table, HtmlEscapesWhatUsersName) {
  Table table("t", "<b>title</b>", {{"a<i>"}, {"bits_per_value", 1}});
  table.add({std::string("<script>alert('x')</script>"), 3.25});
  const std::string html = table.html();
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, Not(HasSubstr("<b>")));
  EXPECT_THAT(html, Not(HasSubstr("<i>")));
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
  EXPECT_THAT(html, HasSubstr(">bits per value</th>"));
  EXPECT_THAT(html, HasSubstr("<td class=\"number\" data-value=\"3.25\">3.2</td>"));
}

TEST(Text, CleanTextIsValid) {
  EXPECT_EQ(clean_text("ok Δ 🙂"), "ok Δ 🙂");
  EXPECT_EQ(clean_text("a\tb\x1b\x7f"), "a b  ");
  const std::string bad = "\xef\xbf\xbd";
  EXPECT_EQ(clean_text("\xff"), bad);
  EXPECT_EQ(clean_text("\xc3"), bad);                                // truncated
  EXPECT_EQ(clean_text("\xc0\xaf"), bad + bad);                      // overlong
  EXPECT_EQ(clean_text("\xed\xa0\x80"), bad + bad + bad);            // surrogate
  EXPECT_EQ(clean_text("\xf4\x90\x80\x80"), bad + bad + bad + bad);  // beyond Unicode
  EXPECT_EQ(clean_text("\xc2\x9b"), " ");                            // C1 control
  EXPECT_EQ(clean_text(""), "");
  EXPECT_EQ(display_width("Δ=🙂"), 3u);
}

TEST(Text, PlainNames) {
  for (const char* name : {"a", "kld-by_layer.2"}) EXPECT_TRUE(is_plain_name(name));
  for (const char* name : {"", ".", "..", ".x", "a/b", "a b", "ä", "a\n"}) {
    EXPECT_FALSE(is_plain_name(name)) << name;
  }
}

}  // namespace
}  // namespace kvsplice::report
