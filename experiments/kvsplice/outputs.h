// What the study shows: tables under the seed's names, and its four figures.
#pragma once

#include "experiments/kvsplice/study.h"
#include "report/figure.h"
#include "report/table.h"

namespace kvsplice::experiment {

// results_spline_pca.csv and results_affineflow_pca.csv, of training seed 0.
report::Table spline_table(const StudyOptions& options, const Warps& warps);
report::Table flow_table(const StudyOptions& options, const Warps& warps);
// Mean and deviation over the seeds, beside the reference's single run.
report::Table seeds_table(const StudyOptions& options, const Warps& warps);
report::Table numbers_table(const std::vector<NumbersRow>& rows);
report::Table rates_table(const std::vector<RateRow>& rows);
report::Table memory_table(const std::vector<MemoryRow>& rows);

report::Figure compression_comparison(const StudyOptions& options, const Warps& warps);
report::Figure improvement_delta(const StudyOptions& options, const Warps& warps);
report::Figure memory_reduction(const std::vector<MemoryRow>& rows);
report::Figure architecture_diagram(size_t dim, const StudyOptions& options);

std::vector<std::string> findings(const StudyOptions& options, const Warps& warps,
                                  const std::vector<NumbersRow>& numbers,
                                  const std::vector<RateRow>& rates);

}  // namespace kvsplice::experiment
