// StageInfo::make for a stage class built from a parameter struct.
#pragma once

#include <memory>
#include <string>
#include <type_traits>

#include "codec/stage.h"

namespace kvsplice::codec {

// A parameter struct may have `Result<> check() const` for what one field alone cannot say. A class
// whose bytes have changed takes the version besides the parameters.
template <class S, class Params>
auto stage_maker(std::string name) {
  return [name = std::move(name)](const KeyValues& pairs,
                                  int version) -> Result<std::unique_ptr<Stage>> {
    KVS_ASSIGN(const Params params, parse_params<Params>(name, pairs));
    if constexpr (requires { params.check(); }) KVS_TRY(params.check());
    if constexpr (std::is_constructible_v<S, Params, int>) {
      return std::unique_ptr<Stage>(std::make_unique<S>(params, version));
    } else {
      return std::unique_ptr<Stage>(std::make_unique<S>(params));
    }
  };
}

}  // namespace kvsplice::codec
