#include "codec/entropy_meter.h"

#include <cmath>

namespace kvsplice::codec {

void EntropyMeter::Column::count(int32_t code) {
  if (code >= -kDense && code < kDense) {
    ++dense[code + kDense];
  } else {
    ++others[code];
  }
}

double EntropyMeter::Column::bits() const {
  double total = 0, weighted = 0;
  size_t symbols = 0;
  auto visit = [&](uint32_t n) {
    if (n == 0) return;
    total += n;
    weighted += n * std::log2(double(n));
    ++symbols;
  };
  for (uint32_t n : dense) visit(n);
  for (const auto& [code, n] : others) visit(n);
  if (symbols < 2) return 0;
  const double model = 0.5 * double(symbols - 1) * std::log2(total);
  return total * std::log2(total) - weighted + model;
}

void EntropyMeter::add(const Unit& unit, MatrixView<const int32_t> codes) {
  auto& columns = units_[{unit.kind, unit.layer}];
  if (columns.size() < codes.cols) columns.resize(codes.cols);
  for (size_t r = 0; r < codes.rows; ++r) {
    for (size_t c = 0; c < codes.cols; ++c) columns[c].count(codes(r, c));
  }
}

double EntropyMeter::bits(Kind kind) const {
  double sum = 0;
  for (const auto& [unit, columns] : units_) {
    if (unit.first != kind) continue;
    for (const auto& column : columns) sum += column.bits();
  }
  return sum;
}

}  // namespace kvsplice::codec
