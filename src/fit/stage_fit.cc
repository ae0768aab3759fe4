#include "fit/stage_fit.h"

#include <algorithm>

namespace kvsplice::codec {

bool learns(const std::string& stage) {
  const auto& table = stage_fit_table();
  return std::any_of(table.begin(), table.end(),
                     [&](const StageFit& one) { return one.name == stage; });
}

Result<State> fit_state(const std::string& stage, const KeyValues& params, const Rows& rows,
                        const FitContext& context) {
  for (const StageFit& one : stage_fit_table()) {
    if (one.name == stage) return one.fit(params, rows, context);
  }
  return State();
}

Result<std::unique_ptr<Stage>> fit_stage(const std::string& stage, const KeyValues& params,
                                         const Rows& rows, const FitContext& context) {
  const StageInfo& info = *find_stage(stage);
  KVS_ASSIGN(auto made, info.make(params, info.version));
  KVS_ASSIGN(const State state, fit_state(info.name, params, rows, context));
  KVS_TRY(made->load(state, rows.width()));
  return made;
}

}  // namespace kvsplice::codec
