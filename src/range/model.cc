#include "range/model.h"

#include <fmt/format.h>

namespace kvsplice::range {

namespace {

constexpr uint32_t kTotal = 1u << kTotalBits;

// round(2^14 * 2^(-i / 8))
constexpr std::array<uint32_t, kCostSteps> kPowers = {16384, 15024, 13777, 12634,
                                                      11585, 10624, 9742,  8933};

// The group and its neighbours, weighted 1 2 1.
template <class T>
uint32_t around(const std::vector<T>& of, size_t g) {
  const uint64_t left = of[g > 0 ? g - 1 : g], right = of[g + 1 < of.size() ? g + 1 : g];
  return static_cast<uint32_t>((left + 2 * uint64_t(of[g]) + right) / 4);
}

}  // namespace

Result<ClassTable> make_table(const Costs& costs, size_t index) {
  std::array<uint32_t, kSymbols> frequency;
  uint32_t sum = 0;
  for (size_t s = 0; s < kSymbols; ++s) {
    frequency[s] = std::max(1u, kPowers[costs[s] % kCostSteps] >> (costs[s] / kCostSteps));
    sum += frequency[s];
  }
  // The likeliest symbol takes what rounding left over.
  uint32_t& most = *std::max_element(frequency.begin(), frequency.end());
  if (most + kTotal <= sum) {
    return Error{ErrorKind::format, fmt::format("the probabilities of class {} sum to {:.2f}",
                                                index, double(sum) / kTotal)};
  }
  most += kTotal - sum;
  ClassTable table{};
  table.low_bits = low_bits_of(index);
  uint32_t start = 0;
  for (size_t s = 0; s < kSymbols; ++s) {
    table.threshold[s] = start;
    table.start[s] = static_cast<uint16_t>(start);
    table.frequency[s] = static_cast<uint16_t>(frequency[s]);
    start += frequency[s];
  }
  return table;
}

Contexts::Contexts(const Model& model)
    : near_weight_(model.near_weight),
      past_weight_(model.past_weight),
      fixed_(model.groups()),
      base_(model.groups()),
      past_(model.groups()),
      sums_(model.groups()) {
  for (size_t g = 0; g < past_.size(); ++g) past_[g] = int64_t{model.mean[g]} << kPastBits;
  uint64_t near = kNearOffset;
  for (size_t g = 0; g < fixed_.size(); ++g) {
    fixed_[g] = 16 * log16(model.mean[g]) - near_weight_ * log16(static_cast<uint32_t>(near)) -
                past_weight_ * log16(around(past_, g) + kPastOffset);
    near += model.mean[g];
    if (g >= kNear) near -= model.mean[g - kNear];
  }
}

void Contexts::begin_row() {
  near_ = 0;
  for (size_t g = 0; g < base_.size(); ++g) {
    base_[g] = fixed_[g] + past_weight_ * log16(around(past_, g) + kPastOffset);
  }
}

void Contexts::end_row() {
  for (size_t g = 0; g < past_.size(); ++g) {
    const int64_t seen = int64_t{64 * sums_[g]} << kPastBits;
    past_[g] += (seen - past_[g]) >> kPastBits;
  }
}

}  // namespace kvsplice::range
