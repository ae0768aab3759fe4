// Empirical entropy of integer codes, per column and unit, with the cost of the model itself
// (half a logarithm per parameter): what an ideal static coder would spend. An estimate, never a
// size.
#pragma once

#include <array>
#include <map>
#include <utility>
#include <vector>

#include "codec/stage.h"

namespace kvsplice::codec {

class EntropyMeter {
 public:
  void add(const Unit& unit, MatrixView<const int32_t> codes);
  double bits(Kind kind) const;
  double bits() const { return bits(Kind::key) + bits(Kind::value); }
  bool empty() const { return units_.empty(); }

 private:
  struct Column {
    static constexpr int32_t kDense = 128;  // codes in [-128, 128) are counted in an array
    std::array<uint32_t, 2 * kDense> dense{};
    std::map<int32_t, uint32_t> others;
    void count(int32_t code);
    double bits() const;
  };
  std::map<std::pair<Kind, int>, std::vector<Column>> units_;
};

}  // namespace kvsplice::codec
