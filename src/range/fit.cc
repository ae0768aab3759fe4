#include "range/fit.h"

#include <cmath>

#include "core/threads.h"

namespace kvsplice::range {

namespace {

constexpr size_t kBlock = 256;

using Counts = std::array<std::array<double, kSymbols>, kClasses>;

// Magnitude sums and quotient symbols are all that contexts and tables depend on.
struct Prepared {
  Matrix<int32_t> codes;  // about their centres
  Matrix<uint32_t> sums;  // per row and group
};

Prepared prepare(MatrixView<const int32_t> codes, const std::vector<int32_t>& centre) {
  Prepared p{copy(codes), Matrix<uint32_t>(codes.rows, groups_of(codes.cols))};
  parallel_chunks(codes.rows, kBlock, [&](size_t first, size_t n) {
    for (size_t r = first; r < first + n; ++r) {
      for (size_t c = 0; c < codes.cols; ++c) {
        p.codes(r, c) -= centre[c];
        p.sums(r, c / kLanes) += cut_magnitude(p.codes(r, c));
      }
    }
  });
  return p;
}

std::vector<uint32_t> mean_sums(const Matrix<uint32_t>& sums) {
  std::vector<double> total(sums.cols());
  for (size_t r = 0; r < sums.rows(); ++r) {
    for (size_t g = 0; g < total.size(); ++g) total[g] += sums(r, g);
  }
  std::vector<uint32_t> mean(total.size());
  for (size_t g = 0; g < total.size(); ++g) {
    const double m = std::round(64 * total[g] / double(sums.rows()));
    mean[g] = static_cast<uint32_t>(std::clamp(m, 1.0, double(kLargestMean)));
  }
  return mean;
}

// Counts symbols by class over every `stride`-th block.
Counts count(const Model& model, const Prepared& p, size_t stride) {
  const size_t blocks = (p.codes.rows() + kBlock - 1) / kBlock;
  const size_t used = (blocks + stride - 1) / stride;
  std::vector<Counts> partial(used);
  parallel_for(used, [&](size_t i) {
    Counts& counts = partial[i];
    for (auto& c : counts) c.fill(0);
    Contexts contexts(model);
    const size_t first = i * stride * kBlock;
    for (size_t r = first; r < std::min(first + kBlock, p.codes.rows()); ++r) {
      contexts.begin_row();
      for (size_t g = 0; g < model.groups(); ++g) {
        const size_t index = contexts.class_of(g);
        const int low = low_bits_of(index);
        for (size_t c = g * kLanes; c < std::min(model.columns, (g + 1) * kLanes); ++c) {
          ++counts[index][static_cast<size_t>(symbol_of(p.codes(r, c) >> low))];
        }
        contexts.push(g, p.sums(r, g));
      }
      contexts.end_row();
    }
  });
  Counts all = partial[0];
  for (size_t i = 1; i < used; ++i) {
    for (size_t k = 0; k < kClasses; ++k) {
      for (size_t s = 0; s < kSymbols; ++s) all[k][s] += partial[i][k][s];
    }
  }
  return all;
}

double bits(const Counts& counts) {
  constexpr double kEscapeBits = 12;  // about what follows an escape
  double sum = 0;
  for (size_t k = 0; k < kClasses; ++k) {
    double total = 0;
    for (double n : counts[k]) total += n;
    for (double n : counts[k]) {
      if (n > 0) sum += n * std::log2(total / n);
    }
    sum += total * low_bits_of(k) + kEscapeBits * counts[k][kEscape];
  }
  return sum;
}

// Coordinate search on a sample: the two weights trade against each other smoothly.
void choose_weights(const Prepared& p, Model& model) {
  constexpr size_t kSampleRows = 1024;
  const size_t stride = std::max<size_t>(1, p.codes.rows() / kSampleRows);
  model.near_weight = 10;
  model.past_weight = 8;
  double best = bits(count(model, p, stride));
  for (int step : {4, 2, 1}) {
    for (int Model::*weight : {&Model::near_weight, &Model::past_weight}) {
      for (int direction : {step, -step}) {
        for (;;) {
          const int tried = model.*weight + direction;
          if (tried < 0 || tried > kLargestWeight) break;
          Model other = model;
          other.*weight = tried;
          const double cost = bits(count(other, p, stride));
          if (cost >= best) break;
          best = cost;
          model.*weight = tried;
        }
      }
    }
  }
}

// Two-sided geometric distribution of the quotients of a class.
std::array<double, kSymbols> geometric(size_t index) {
  const double expected = std::exp2((double(index) + 0.5) / 4 - 9 - low_bits_of(index));
  const double ratio = (std::sqrt(1 + expected * expected) - 1) / expected;
  std::array<double, kSymbols> p;
  p[0] = (1 - ratio) / (1 + ratio);
  for (int s = 1; s < kEscape; ++s) p[s] = p[0] * std::pow(ratio, std::abs(quotient_of(s)));
  p[kEscape] = 2 * p[0] * std::pow(ratio, 8) / (1 - ratio);
  return p;
}

Costs costs_of(const Counts& counts, size_t index) {
  constexpr double kPrior = 8, kNeighbour = 1.0 / 16;
  std::array<double, kSymbols> n = geometric(index);
  for (double& x : n) x *= kPrior;
  for (size_t k = index > 0 ? index - 1 : 0; k < std::min(index + 2, kClasses); ++k) {
    if (low_bits_of(k) != low_bits_of(index)) continue;
    for (size_t s = 0; s < kSymbols; ++s) n[s] += counts[k][s] * (k == index ? 1 : kNeighbour);
  }
  double total = 0;
  for (double x : n) total += x;
  // Behind a split the quotients -1 and 0 mirror each other, not -1 and 1.
  for (size_t s = 1; low_bits_of(index) == 0 && s < kEscape; s += 2) {
    n[s] = n[s + 1] = (n[s] + n[s + 1]) / 2;
  }
  Costs costs;
  for (size_t s = 0; s < kSymbols; ++s) {
    const double cost = std::round(-kCostSteps * std::log2(n[s] / total));
    costs[s] = static_cast<uint8_t>(std::clamp<double>(cost, 0, kLargestCost));
  }
  return costs;
}

}  // namespace

std::vector<int32_t> medians(MatrixView<const int32_t> codes) {
  constexpr int32_t kLargest = 1 << 23;  // stays exact in a float
  constexpr size_t kSampleRows = 4096;
  const size_t stride = std::max<size_t>(1, codes.rows / kSampleRows);
  std::vector<int32_t> result(codes.cols);
  parallel_for(codes.cols, [&](size_t c) {
    std::vector<int32_t> column;
    for (size_t r = 0; r < codes.rows; r += stride) column.push_back(codes(r, c));
    const auto middle = column.begin() + static_cast<ptrdiff_t>(column.size() / 2);
    std::nth_element(column.begin(), middle, column.end());
    result[c] = std::clamp(*middle, -kLargest, kLargest);
  });
  return result;
}

Calibration calibrate(MatrixView<const int32_t> codes, std::vector<int32_t> centre) {
  Calibration made;
  made.centre = std::move(centre);
  const Prepared prepared = prepare(codes, made.centre);
  made.mean = mean_sums(prepared.sums);
  Model model;
  model.columns = codes.cols;
  model.mean = made.mean;
  choose_weights(prepared, model);
  made.near_weight = model.near_weight;
  made.past_weight = model.past_weight;
  const Counts counts = count(model, prepared, 1);
  for (size_t k = 0; k < kClasses; ++k) made.costs[k] = costs_of(counts, k);
  return made;
}

Result<Model> make_model(const Calibration& calibration) {
  Model model;
  model.columns = calibration.centre.size();
  model.centre = calibration.centre;
  model.centre.resize(groups_of(model.columns) * kLanes);
  model.mean = calibration.mean;
  model.near_weight = calibration.near_weight;
  model.past_weight = calibration.past_weight;
  for (size_t k = 0; k < kClasses; ++k) {
    KVS_ASSIGN(const ClassTable table, make_table(calibration.costs[k], k));
    model.classes.push_back(table);
  }
  return model;
}

}  // namespace kvsplice::range
