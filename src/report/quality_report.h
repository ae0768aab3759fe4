// Tables, figures and findings of `kvsplice quality`.
#pragma once

#include <vector>

#include "quality/quality.h"
#include "report/results.h"

namespace kvsplice::report {

Table quality_table(const std::vector<quality::Outcome>& outcomes);
Figure quality_figure(const std::vector<quality::Outcome>& outcomes);
// Sentences a person wants on top: each names the figures it rests on.
std::vector<std::string> quality_findings(const std::vector<quality::Outcome>& outcomes);

}  // namespace kvsplice::report
