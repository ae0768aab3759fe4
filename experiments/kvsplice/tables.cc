#include <fmt/format.h>

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

Table spline_table(const StudyOptions& options, const WarpErrors& warps) {
  return single_run("results_spline_pca", "Test error of PCA, plain and behind the spline",
                    "SplinePCA", options, warps.pca, warps.spline.by_seed[0]);
}

Table flow_table(const StudyOptions& options, const WarpErrors& warps) {
  return single_run("results_affineflow_pca", "Test error of PCA, plain and behind the flow",
                    "FlowPCA", options, warps.pca, warps.flow.by_seed[0]);
}

Table seeds_table(const StudyOptions& options, const WarpErrors& warps) {
  Table table("seeds", "Test error over training seeds, beside the reference's single run",
              {{"k"},
               {"reference_pca", 6},
               {"pca", 6},
               {"reference_spline", 6},
               {"spline_mean", 7},
               {"spline_median", 7},
               {"spline_deviation", 7},
               {"reference_flow", 6},
               {"flow_mean", 7},
               {"flow_median", 7},
               {"flow_deviation", 7}});
  for (size_t i = 0; i < options.k.size(); ++i) {
    const auto found = kReference.find(options.k[i]);
    const auto reference = [&](double Reference::*figure) -> Cell {
      if (found == kReference.end()) return {};
      return found->second.*figure;
    };
    table.add({int64_t(options.k[i]), reference(&Reference::pca), warps.pca[i],
               reference(&Reference::spline), warps.spline.mean(i), warps.spline.median(i),
               warps.spline.deviation(i), reference(&Reference::flow), warps.flow.mean(i),
               warps.flow.median(i), warps.flow.deviation(i)});
  }
  return table;
}

Table trainings_table(const StudyOptions& options, const WarpErrors& warps) {
  Table table("trainings", "Test error of every training",
              {{"seed"}, {"k"}, {"spline", 7}, {"flow", 7}});
  for (size_t seed = 0; seed < warps.flow.by_seed.size(); ++seed) {
    for (size_t i = 0; i < options.k.size(); ++i) {
      table.add({int64_t(seed), int64_t(options.k[i]), warps.spline.by_seed[seed][i],
                 warps.flow.by_seed[seed][i]});
    }
  }
  return table;
}

Table own_ranks_table(const std::vector<OwnRankRow>& rows) {
  Table table("own_ranks", "Test error of warps trained through the rank they are tested at",
              {{"k"}, {"pca", 6}, {"spline", 6}, {"flow", 6}, {"floor", 6}});
  for (const auto& r : rows) table.add({int64_t(r.rank), r.pca, r.spline, r.flow, r.floor});
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
              {{"data"}, {"warp"}, {"delta"}, {"bits_per_value", 4}, {"relative_error", 4}});
  for (const auto& r : rows) table.add({r.data, r.warp, r.delta, r.bits_per_value, r.error});
  return table;
}

Table memory_table(const std::vector<MemoryRow>& rows) {
  Table table("memory", "Bytes of the values of one head of 256 tokens x 64",
              {{"what"}, {"bytes", 0}, {"state_bytes", 0}});
  for (const auto& r : rows) table.add({r.what, r.bytes, r.state_bytes});
  return table;
}

Table ideas_table(const std::vector<IdeaRow>& rows) {
  Table table("ideas", "The seed's future work: errors beside a plain PCA at the same bytes",
              {{"idea"},
               {"data"},
               {"method"},
               {"bytes_per_vector", 1},
               {"relative_error", 4},
               {"attention_error", 4}});
  for (const auto& r : rows) {
    const Cell attention = std::isnan(r.attention_error) ? Cell() : Cell(r.attention_error);
    table.add({r.idea, r.data, r.method, r.bytes, r.error, attention});
  }
  return table;
}

Table caches_table(const std::vector<CacheRow>& rows) {
  Table table("caches", "Real caches: warps before PCA at equal bytes, mean of units",
              {{"signal"},
               {"scope"},
               {"rank"},
               {"columns"},
               {"bytes_per_vector", 0},
               {"method"},
               {"relative_error", 4},
               {"attention_error", 4},
               {"units_better_than_pca"},
               {"units"}});
  for (const auto& r : rows) {
    table.add({r.signal, r.scope, int64_t(r.rank), int64_t(r.columns), r.bytes(), r.method, r.error,
               r.attention_error, int64_t(r.better), int64_t(r.units)});
  }
  return table;
}

}  // namespace kvsplice::experiment
