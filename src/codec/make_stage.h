// StageInfo::make for a stage class built from a parameter struct.
#pragma once

#include <memory>
#include <string>

#include "codec/stage.h"

namespace kvsplice::codec {

// A parameter struct may have `Result<> check() const` for what one field alone cannot say.
template <class S, class Params>
auto stage_maker(std::string name) {
  return [name = std::move(name)](const KeyValues& pairs) -> Result<std::unique_ptr<Stage>> {
    KVS_ASSIGN(const Params params, parse_params<Params>(name, pairs));
    if constexpr (requires { params.check(); }) KVS_TRY(params.check());
    return std::unique_ptr<Stage>(std::make_unique<S>(params));
  };
}

}  // namespace kvsplice::codec
