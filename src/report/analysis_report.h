// Tables, figures and findings of `kvsplice analyse`.
#pragma once

#include <string>
#include <vector>

#include "analyse/analysis.h"
#include "report/results.h"

namespace kvsplice::report {

Table analysis_summary_table(const analyse::Analysis& analysis);  // a row per signal
Table analysis_scopes_table(const analyse::Analysis& analysis);   // per signal and scope of a KLT
Table analysis_layers_table(const analyse::Analysis& analysis);   // per signal and layer
Table analysis_heads_table(const analyse::Analysis& analysis);    // per signal, layer and head
Table spectra_table(const analyse::Analysis& analysis);

// The study's four panels: autocorrelation, low-frequency energy, decay, rank ratio.
Figure structure_figure(const analyse::Analysis& analysis);
Figure spectra_figure(const analyse::Analysis& analysis);

// The verdict first (if stored keys were analysed), then suggestions.
std::vector<std::string> analysis_findings(const analyse::Analysis& analysis);

// Everything above into a results directory.
Result<> add_analysis(const analyse::Analysis& analysis, Results& results);

}  // namespace kvsplice::report
