// What the study shows: tables under the seed's names, its four figures and one more, findings.
#pragma once

#include "experiments/kvsplice/cache_study.h"
#include "experiments/kvsplice/ideas.h"
#include "experiments/kvsplice/study.h"
#include "report/figure.h"
#include "report/table.h"

namespace kvsplice::experiment {

// Everything measured. The last two are empty without a model.
struct Study {
  WarpErrors warps;
  std::vector<OwnRankRow> own_ranks;
  std::vector<NumbersRow> numbers;
  std::vector<RateRow> rates;
  std::vector<MemoryRow> memory;
  std::vector<IdeaRow> ideas;
  std::vector<CacheRow> caches;
  std::vector<quality::Outcome> loop;
};

// results_spline_pca.csv and results_affineflow_pca.csv, of training seed 0.
report::Table spline_table(const StudyOptions& options, const WarpErrors& warps);
report::Table flow_table(const StudyOptions& options, const WarpErrors& warps);
// Mean, median and deviation over the seeds, beside the reference's single run.
report::Table seeds_table(const StudyOptions& options, const WarpErrors& warps);
report::Table trainings_table(const StudyOptions& options, const WarpErrors& warps);
report::Table own_ranks_table(const std::vector<OwnRankRow>& rows);
report::Table numbers_table(const std::vector<NumbersRow>& rows);
report::Table rates_table(const std::vector<RateRow>& rows);
report::Table memory_table(const std::vector<MemoryRow>& rows);
report::Table ideas_table(const std::vector<IdeaRow>& rows);
report::Table caches_table(const std::vector<CacheRow>& rows);

report::Figure compression_comparison(const StudyOptions& options, const WarpErrors& warps);
report::Figure improvement_delta(const StudyOptions& options, const WarpErrors& warps);
report::Figure own_ranks_figure(const std::vector<OwnRankRow>& rows);
report::Figure memory_reduction(const std::vector<MemoryRow>& rows);
report::Figure architecture_diagram(size_t dim, const StudyOptions& options);

std::vector<std::string> findings(const StudyOptions& options, const Study& study);

}  // namespace kvsplice::experiment
