// Colours and shapes of series, by their position in a panel.
#pragma once

#include <fmt/format.h>

#include <array>
#include <string>

namespace kvsplice::report {

inline constexpr const char* kInk = "#333333";
inline constexpr const char* kMuted = "#666666";
inline constexpr const char* kAxis = "#999999";
inline constexpr const char* kGrid = "#e6e6e6";

// Okabe and Ito's palette without its yellow and black: told apart by all common kinds of colour
// vision, and visible on white and on dark ground.
inline std::string series_colour(size_t index) {
  static constexpr std::array<const char*, 7> colours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                         "#56b4e9", "#e69f00", "#808080"};
  return colours[index % colours.size()];
}

// Dashes when the colours come round again.
inline std::string line_style(size_t index, double width) {
  static constexpr std::array<const char*, 3> dashes = {"solid", "(8,4)", "(2,3)"};
  return fmt::format("linecolor rgb '{}' linewidth {:g} dashtype {}", series_colour(index), width,
                     dashes[index / 7 % dashes.size()]);
}

inline std::string point_style(size_t index) {
  static constexpr std::array<int, 5> shapes = {7, 5, 9, 13, 11};  // all filled
  return fmt::format("pointtype {} pointsize 0.75 linecolor rgb '{}'",
                     shapes[index % shapes.size()], series_colour(index));
}

}  // namespace kvsplice::report
