#include "codec/quantise/step/recall_fit.h"

#include "linalg/linalg.h"

namespace kvsplice::codec {

Recall learn_recall(const Recall::Options& options, const CodeContext& context) {
  if (options.tokens < 2) return Recall(options);
  std::vector<float> weights;
  // So that distances are measured in the deviations of what is compared.
  double width = 0;
  for (const Reconstruction& source : Recall(options).sources(context)) {
    const double deviation = rms_about_mean(source.rows);
    weights.push_back(deviation > 1e-15 ? static_cast<float>(1 / (deviation * deviation)) : 0);
    width += double(source.rows.cols);
  }
  for (float& w : weights) w /= static_cast<float>(width);
  return Recall(options, std::move(weights));
}

}  // namespace kvsplice::codec
