// Where to write the notes of points so that they cover neither points, lines nor each other.
#pragma once

#include <vector>

#include "report/canvas.h"

namespace kvsplice::report {

struct Spot {
  double x, y;  // of the point
};

struct Note {
  Spot spot;
  double width, height;
  double gap;  // from the point's centre to the note
  enum class First { beside, above, below } first = First::beside;  // place to try
};

// One box for each note, inside `area` where possible; `taken` are places not to cover.
std::vector<Box> place_notes(const std::vector<Note>& notes, const std::vector<Spot>& taken,
                             const Box& area);

}  // namespace kvsplice::report
