// What operator new hands out in this program, counted and refused at will.
#pragma once

#include <cstddef>

namespace kvsplice::memory {

// For the length of a scope allocation number `first` fails and all behind it, counted from 1.
class NoMemoryFrom {
 public:
  explicit NoMemoryFrom(size_t first);
  ~NoMemoryFrom();
  size_t asked() const;  // for how many so far
};

// The most bytes that were held at a time since, beyond those held at first.
class PeakMemory {
 public:
  PeakMemory();
  size_t bytes() const;

 private:
  size_t before_;
};

}  // namespace kvsplice::memory
