#include "report/labels.h"

#include <algorithm>

namespace kvsplice::report {

namespace {

constexpr double kRadius = 4;  // of a marker

double overlap(const Box& a, const Box& b) {
  const double w = std::min(a.right, b.right) - std::max(a.left, b.left);
  const double h = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  return w > 0 && h > 0 ? w * h : 0;
}

Box around(const Spot& s) { return {s.x - kRadius, s.y - kRadius, s.x + kRadius, s.y + kRadius}; }

// Eight places around the point, the preferred ones first.
std::vector<Box> candidates(const Note& note) {
  struct Direction {
    int x, y;
  };
  static constexpr Direction beside[] = {{1, 0}, {1, -1}, {-1, -1}, {-1, 0},
                                         {1, 1}, {-1, 1}, {0, -1},  {0, 1}};
  static constexpr Direction above[] = {{0, -1}, {1, -1}, {-1, -1}, {1, 0},
                                        {-1, 0}, {0, 1},  {1, 1},   {-1, 1}};
  const bool is_beside = note.first == Note::First::beside;
  const int upside = note.first == Note::First::below ? -1 : 1;
  std::vector<Box> boxes;
  for (Direction d : is_beside ? beside : above) {
    d.y *= upside;
    // Diagonal places touch the corner of the marker, not a circle of the full gap.
    const double gap = d.x != 0 && d.y != 0 ? 0.5 * note.gap : note.gap;
    const double x = note.spot.x + d.x * (gap + note.width / 2);
    const double y = note.spot.y + d.y * (gap + note.height / 2);
    boxes.push_back(
        {x - note.width / 2, y - note.height / 2, x + note.width / 2, y + note.height / 2});
  }
  return boxes;
}

}  // namespace

std::vector<Box> place_notes(const std::vector<Note>& notes, const std::vector<Spot>& taken,
                             const Box& area) {
  std::vector<Box> placed;
  for (const Note& note : notes) {
    const auto cost = [&](const Box& box) {
      double covered = 4 * (box.width() * box.height() - overlap(box, area));
      for (const Box& other : placed) covered += 4 * overlap(box, other);
      for (const Spot& spot : taken) covered += overlap(box, around(spot));
      return covered;
    };
    const auto boxes = candidates(note);
    placed.push_back(*std::min_element(
        boxes.begin(), boxes.end(), [&](const Box& a, const Box& b) { return cost(a) < cost(b); }));
  }
  return placed;
}

}  // namespace kvsplice::report
