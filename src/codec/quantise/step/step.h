// What the quantiser and its fit share.
#pragma once

#include <string>

#include "codec/quantise/step/dead_zone.h"
#include "codec/quantise/step/recall.h"

namespace kvsplice::codec {

struct StepParams {
  double delta = 0.6;
  double offset = 0.4;
  double thrift = 0.1;
  std::string of = "unit";
  int recall = 0;
  int recall_history = 1;
  double recall_width = 0.7;
  double recall_noise = 0.3;

  template <class V>
  void visit(V&& v) {
    v("delta", delta, "step over the rms that `of` names", Range{1e-6, 1e3});
    v("offset", offset, "rounding offset: .5 rounds to nearest, less widens the dead zone",
      Range{0.1, 0.5});
    v("thrift", thrift, "squared steps of error that a bit must save for 0 to become 1",
      Range{0, 1});
    v("of", of,
      "whose rms the step is relative to: the unit's rows before any stage, or the rows that "
      "arrive",
      Choice{"unit", "rows"});
    v("recall", recall,
      "tokens of a block that tell of those behind them, by how alike they are in the layers "
      "below; 0: none",
      Range{0, 4096});
    v("recall_history", recall_history, "layers below in which tokens are compared", Range{1, 64});
    v("recall_width", recall_width,
      "distance, in deviations of what is compared, over which likeness falls", Range{0.05, 20});
    v("recall_noise", recall_noise,
      "variance that like tokens do not share, over that which they may", Range{0.01, 100});
  }

  Recall::Options recall_options() const {
    return {size_t(recall), recall_history, {recall_width, recall_noise}};
  }
};

template <class M>
auto rows_of(M& matrix, const Group& g) {
  return matrix.view().row_range(g.first, g.count);
}

// Quantises the innovations of a group; `made` becomes what the decoder will make of them.
Result<> code_group(const DeadZone& zone, const Matrix<float>& mixing, MatrixView<const float> rows,
                    MatrixView<int32_t> codes, MatrixView<float> made);

}  // namespace kvsplice::codec
