#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "experiments/kvsplice/outputs.h"

namespace kvsplice::experiment {

namespace {

using report::Cell;
using report::Table;

// The seed's published run: 20 epochs of the spline, 12 of the flow.
struct Reference {
  double pca, spline, flow;
};
const std::map<int, Reference> kReference = {
    {8, {1314e-6, 1312e-6, 1316e-6}}, {12, {826e-6, 826e-6, 825e-6}},
    {16, {789e-6, 788e-6, 789e-6}},   {24, {733e-6, 733e-6, 734e-6}},
    {32, {676e-6, 675e-6, 677e-6}},   {48, {561e-6, 562e-6, 562e-6}},
    {64, {451e-6, 451e-6, 451e-6}}};

Table single_run(const std::string& name, const std::string& title, const std::string& column,
                 const StudyOptions& options, const std::vector<double>& pca,
                 const std::vector<double>& errors) {
  Table table(name, title, {{"k"}, {"test_mse_PCA", 6}, {"test_mse_" + column, 6}});
  for (size_t i = 0; i < options.k.size(); ++i) {
    table.add({int64_t(options.k[i]), pca[i], errors[i]});
  }
  return table;
}

}  // namespace

Table spline_table(const StudyOptions& options, const Warps& warps) {
  return single_run("results_spline_pca", "Test error of PCA, plain and behind the spline",
                    "SplinePCA", options, warps.pca, warps.spline.by_seed[0]);
}

Table flow_table(const StudyOptions& options, const Warps& warps) {
  return single_run("results_affineflow_pca", "Test error of PCA, plain and behind the flow",
                    "FlowPCA", options, warps.pca, warps.flow.by_seed[0]);
}

Table seeds_table(const StudyOptions& options, const Warps& warps) {
  Table table("seeds", "Test error, mean and deviation over training seeds, beside the reference",
              {{"k"},
               {"reference_pca", 6},
               {"pca", 6},
               {"reference_spline", 6},
               {"spline_mean", 7},
               {"spline_deviation", 7},
               {"reference_flow", 6},
               {"flow_mean", 7},
               {"flow_deviation", 7}});
  for (size_t i = 0; i < options.k.size(); ++i) {
    const auto found = kReference.find(options.k[i]);
    const auto reference = [&](double Reference::*figure) -> Cell {
      if (found == kReference.end()) return {};
      return found->second.*figure;
    };
    table.add({int64_t(options.k[i]), reference(&Reference::pca), warps.pca[i],
               reference(&Reference::spline), warps.spline.mean(i), warps.spline.deviation(i),
               reference(&Reference::flow), warps.flow.mean(i), warps.flow.deviation(i)});
  }
  return table;
}

Table numbers_table(const std::vector<NumbersRow>& rows) {
  Table table("numbers", "Numbers kept of a vector and what the rest costs",
              {{"method"}, {"numbers_per_vector"}, {"test_mse", 6}});
  for (const auto& r : rows) table.add({r.method, int64_t(r.numbers), r.test_mse});
  return table;
}

Table rates_table(const std::vector<RateRow>& rows) {
  Table table("rates", "Entropy of quantised coordinates and error (estimate, model included)",
              {{"codec"}, {"bits_per_value", 4}, {"test_mse", 6}});
  for (const auto& r : rows) table.add({r.codec, r.bits_per_value, r.test_mse});
  return table;
}

Table memory_table(const std::vector<MemoryRow>& rows) {
  Table table("memory", "Bytes of the values of one head of 256 tokens x 64",
              {{"what"}, {"bytes", 0}, {"state_bytes", 0}});
  for (const auto& r : rows) table.add({r.what, r.bytes, r.state_bytes});
  return table;
}

namespace {

// At the error of a point of the plain KLT, the bits a warped codec needs, between its own points
// on a line of bits over log error; NaN outside them.
double bits_at(const std::vector<RateRow>& rows, const std::string& warp, double error) {
  std::vector<const RateRow*> points;
  for (const auto& r : rows) {
    const size_t cut = r.codec.find("klt");
    if (r.codec.substr(0, cut) == warp) points.push_back(&r);
  }
  for (size_t i = 0; i + 1 < points.size(); ++i) {
    const double low = std::log(points[i]->test_mse), high = std::log(points[i + 1]->test_mse);
    const double share = (std::log(error) - low) / (high - low);
    if (share >= 0 && share <= 1) {
      return points[i]->bits_per_value +
             share * (points[i + 1]->bits_per_value - points[i]->bits_per_value);
    }
  }
  return NAN;
}

}  // namespace

std::vector<std::string> findings(const StudyOptions& options, const Warps& warps,
                                  const std::vector<NumbersRow>& numbers,
                                  const std::vector<RateRow>& rates) {
  std::vector<std::string> out;
  for (const auto& [name, errors] :
       {std::pair{"spline", &warps.spline}, std::pair{"flow", &warps.flow}}) {
    double best = 0, worst = 0;
    for (size_t i = 0; i < options.k.size(); ++i) {
      best = std::max(best, 1 - errors->mean(i) / warps.pca[i]);
      worst = std::max(worst, errors->mean(i) / warps.pca[i] - 1);
    }
    out.push_back(
        fmt::format("Behind the {}, PCA's test error falls by at most {:.2f} % and rises "
                    "by at most {:.2f} % (mean of {} trainings, {} ranks).",
                    name, 100 * best, 100 * worst, errors->by_seed.size(), options.k.size()));
  }
  out.push_back(
      fmt::format("One number per vector, the place along a curve, leaves an error of "
                  "{:.6f}; {} numbers of PCA leave {:.6f}.",
                  numbers.front().test_mse, numbers.back().numbers, numbers.back().test_mse));
  const RateRow& plain = rates[rates.size() > 1 ? 1 : 0];
  for (size_t i = 0; i < rates.size(); ++i) {
    const std::string warp = rates[i].codec.substr(0, rates[i].codec.find("klt"));
    const bool seen = i > 0 && rates[i - 1].codec.rfind(warp, 0) == 0;
    const double bits = bits_at(rates, warp, plain.test_mse);
    if (warp.empty() || seen || std::isnan(bits)) continue;
    out.push_back(fmt::format("At the error of '{}' ({:.6f}), {} needs {:+.2f} % of its bits.",
                              plain.codec, plain.test_mse, warp.substr(0, warp.rfind(" |")),
                              100 * (bits / plain.bits_per_value - 1)));
  }
  return out;
}

}  // namespace kvsplice::experiment
