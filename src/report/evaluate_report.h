// Tables, figures and findings of `kvsplice evaluate`.
#pragma once

#include <string>
#include <vector>

#include "evaluate/evaluate.h"
#include "report/results.h"

namespace kvsplice::report {

struct EvaluatedCodec {
  std::string name;      // of its file
  std::string pipeline;  // canonical text
  evaluate::CodecQuality quality;
};

Table evaluate_table(const std::vector<EvaluatedCodec>& codecs);         // a row per codec
Table evaluate_layers_table(const std::vector<EvaluatedCodec>& codecs);  // per codec, layer, kind
Figure evaluate_figure(const std::vector<EvaluatedCodec>& codecs);
std::vector<std::string> evaluate_findings(const std::vector<EvaluatedCodec>& codecs);

// Everything above into a results directory.
Result<> add_evaluation(const std::vector<EvaluatedCodec>& codecs, Results& results);

}  // namespace kvsplice::report
