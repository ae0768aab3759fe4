#include "report/figure.h"

#include <gmock/gmock.h>
#include <stdlib.h>

#include <cmath>

#include "core/file.h"
#include "core/temporary_folder.h"
#include "report/labels.h"
#include "report/svg.h"

namespace kvsplice::report {
namespace {

namespace fs = std::filesystem;

std::string folder() {
  static const auto made = TemporaryFolder::create("test").value();
  return made.path() + "/";
}

using testing::HasSubstr;
using Style = Series::Style;

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++n;
  return n;
}

bool has_text(const std::string& svg, const std::string& text) {
  return svg.find("<text>" + text + "</text>") != std::string::npos;
}

std::string drawn_svg(const Figure& figure) {
  const Result<> done = draw(figure, folder());
  EXPECT_TRUE(done.ok()) << done.error().message;
  const auto svg = read_text(folder() + figure.name + ".svg");
  const auto png = read_file(folder() + figure.name + ".png");
  EXPECT_TRUE(png.ok() && png->size() > 1000 && (*png)[1] == 'P');
  return svg.ok() ? *svg : "";
}

Figure one_panel(std::vector<Series> series) {
  return {"figure_test", "", {{"Panel", "x", "y", std::move(series)}}};
}

TEST(Figure, SameDataSameBytes) {
  const Figure figure = one_panel({{"a", {1, 2, 3}, {3, 1, 2}, {.1, .2, .3}, Style::line_points}});
  const std::string first = drawn_svg(figure);
  EXPECT_EQ(first, drawn_svg(figure));
  EXPECT_TRUE(has_text(first, "Panel"));
  EXPECT_EQ(count(first, "GNUPLOT") + count(first, "<title>"), 0u);
}

TEST(Figure, EveryStyleDraws) {
  std::vector<Series> series;
  for (const Style style : {Style::line, Style::points, Style::line_points, Style::steps}) {
    series.push_back({"s", {1, 2, 4}, {1, 2, 3}, {.1, .1, .1}, style, {"a", "b", "c"}});
  }
  const std::string svg = drawn_svg(one_panel(series));
  EXPECT_EQ(count(svg, "<text>b</text>"), 4u);
  series = {{"p", {}, {1, -2, 3}, {}, Style::bars},
            {"q", {}, {2, 2}, {.5, .5}, Style::bars, {"n"}}};
  Figure bars = one_panel(series);
  bars.panels[0].ticks = {"first", "second", "third"};
  EXPECT_TRUE(has_text(drawn_svg(bars), "second"));
  bars.panels[0].log_y = true;
  drawn_svg(bars);
}

TEST(Figure, PanelsWithoutDataSaySo) {
  EXPECT_TRUE(has_text(drawn_svg(one_panel({})), "no data"));
  EXPECT_TRUE(has_text(drawn_svg(one_panel({{"empty", {}, {}}})), "no data"));
  Figure log = one_panel({{"negative", {1, 2}, {-1, NAN}}, {"bars", {}, {}, {}, Style::bars}});
  log.panels[0].log_y = true;
  EXPECT_TRUE(has_text(drawn_svg(log), "no data"));
  EXPECT_FALSE(has_text(drawn_svg(one_panel({{"one", {5}, {5}}})), "no data"));
}

// Each is one point less, and no coordinate is not a number.
TEST(Figure, SkipsWhatIsNotFinite) {
  const std::string svg =
      drawn_svg(one_panel({{"s", {1, 2, 3, 4, 5}, {1, 2, NAN, INFINITY, 5}, {}, Style::points}}));
  EXPECT_EQ(count(svg, "nan") + count(svg, "inf"), 0u);
  const std::string whole =
      drawn_svg(one_panel({{"s", {1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}, {}, Style::points}}));
  EXPECT_EQ(count(whole, "<use "), count(svg, "<use ") + 2);
}

TEST(Figure, TextIsOnlyText) {
  const std::string hostile =
      "'; system \"touch pwned\" #`touch pwned`$x\\n @y {/*2 z} 50%g <script>";
  Figure figure = one_panel({{hostile, {1}, {1}, {}, Style::points, {hostile}}});
  figure.panels[0].title = figure.panels[0].x_label = hostile;
  figure.panels[0].ticks = {"50%d '`2\\n"};
  const std::string svg = drawn_svg(figure);
  const std::string escaped =
      "<text>'; system \"touch pwned\" #`touch pwned`$x\\n @y {/*2 z} 50%g &lt;script></text>";
  EXPECT_EQ(count(svg, escaped), 4u) << "title, label, legend and note";
  EXPECT_TRUE(has_text(svg, "50%d '`2\\n"));
  EXPECT_FALSE(fs::exists("pwned"));
  EXPECT_TRUE(inline_svg(svg, "p", "").ok());
}

TEST(Figure, OneToEightPanels) {
  const std::vector<std::pair<int, int>> panels_columns = {{1, 100}, {2, 1}, {2, 0}, {3, 2},
                                                           {5, 4},   {8, 4}, {8, -1}};
  for (const auto& [panels, columns] : panels_columns) {
    Figure figure{"panels", "", {}, columns};
    for (int p = 0; p < panels; ++p) {
      figure.panels.push_back({"t", "", "", {{"same", {1, 10}, {1, 10.0 + p}}}, p % 2 == 0, p > 3});
    }
    const std::string svg = drawn_svg(figure);
    EXPECT_EQ(count(svg, "<text>t</text>"), size_t(panels));
    EXPECT_EQ(count(svg, "<text>same</text>"), 1u);  // one legend for all
  }
}

TEST(Figure, RefusesSeriesThatDoNotFit) {
  const auto message = [](const Figure& figure) {
    const Result<> done = draw(figure, folder());
    return done.ok() ? "" : done.error().message;
  };
  EXPECT_THAT(message(one_panel({{"s", {1}, {1, 2}}})), HasSubstr("1 values of x for 2 of y"));
  EXPECT_THAT(message(one_panel({{"s", {1}, {1}, {1, 2}}})), HasSubstr("2 errors for 1 points"));
  EXPECT_THAT(message(one_panel({{"s", {1}, {1}, {}, Style::line, {"a", "b"}}})),
              HasSubstr("2 notes for 1 points"));
  EXPECT_THAT(message({"f", "", {}}), HasSubstr("no panels"));
  Figure bars = one_panel({{"s", {}, {1}, {}, Style::bars}});
  bars.panels[0].log_x = true;
  EXPECT_THAT(message(bars), HasSubstr("logarithmic"));
}

TEST(Figure, MissingGnuplotIsAnError) {
  const std::string path = ::getenv("PATH");
  ::setenv("PATH", folder().c_str(), 1);
  const Result<> missing = draw(one_panel({}), folder());
  ::setenv("PATH", path.c_str(), 1);
  ASSERT_FALSE(missing.ok());
  EXPECT_THAT(missing.error().message, HasSubstr("cannot run gnuplot"));
}

TEST(Figure, FailingGnuplotIsQuoted) {
  const fs::path dir = fs::path(folder()) / "fake";
  fs::create_directories(dir);
  ASSERT_TRUE(write_text(dir / "gnuplot", "#!/bin/sh\necho 'line 7: no pen' >&2\nexit 3\n").ok());
  fs::permissions(dir / "gnuplot", fs::perms::owner_all);
  const std::string path = ::getenv("PATH");
  ::setenv("PATH", (dir.string() + ":" + path).c_str(), 1);
  const Result<> failed = draw(one_panel({}), folder());
  ::setenv("PATH", path.c_str(), 1);
  ASSERT_FALSE(failed.ok());
  EXPECT_THAT(failed.error().message, HasSubstr("exit code 3"));
  EXPECT_THAT(failed.error().message, HasSubstr("line 7: no pen"));
}

double covered(const Box& a, const Box& b) {
  const double w = std::min(a.right, b.right) - std::max(a.left, b.left);
  const double h = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  return w > 0 && h > 0 ? w * h : 0;
}

TEST(Notes, KeepOffPointsAndEachOther) {
  std::vector<Note> notes;
  std::vector<Spot> points;
  for (int i = 0; i < 6; ++i) {
    points.push_back({100 + 45.0 * i, 100 + 12.0 * (i % 2)});
    notes.push_back({points.back(), 40, 12, 7});
  }
  const auto boxes = place_notes(notes, points, {0, 0, 400, 300});
  for (size_t i = 0; i < boxes.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_EQ(covered(boxes[i], boxes[j]), 0);
    for (const Spot& p : points) {
      EXPECT_EQ(covered(boxes[i], {p.x - 4, p.y - 4, p.x + 4, p.y + 4}), 0);
    }
  }
}

TEST(Notes, StandBeyondTheEndsOfBars) {
  const Box area{0, 0, 100, 100};
  const auto boxes = place_notes(
      {{{50, 40}, 20, 12, 3, Note::First::above}, {{50, 60}, 20, 12, 3, Note::First::below}}, {},
      area);
  EXPECT_NEAR(boxes[0].bottom, 37, 1e-9);
  EXPECT_NEAR(boxes[1].top, 63, 1e-9);
}

TEST(Notes, StayInside) {
  const Box area{0, 0, 100, 100};
  for (const Spot& corner : {Spot{1, 1}, Spot{99, 1}, Spot{1, 99}, Spot{99, 99}}) {
    const Box box = place_notes({{corner, 40, 12, 7}}, {corner}, area)[0];
    EXPECT_NEAR(covered(box, area), 40 * 12, 1e-9);
  }
}

}  // namespace
}  // namespace kvsplice::report
