// What the stage and its fit share.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>

#include "codec/stage.h"

namespace kvsplice::codec {

struct KltParams {
  std::string scope = "layer";
  int heads = 1;
  std::optional<int> rank;
  std::string stored = "f32";

  template <class V>
  void visit(V&& v) {
    v("scope", scope, "what shares one basis: a head, a layer, or all layers of a kind",
      Choice{"head", "layer", "model"});
    v("heads", heads, "with scope=head: heads that follow each other and share one basis",
      Range{1, 1 << 10});
    v("rank", rank, "coefficients kept of each basis, largest variance first; all if not given",
      Range{1, 1 << 20});
    v("stored", stored, "how the codec file holds the basis; packed takes a sixth of the bytes",
      Choice{"f32", "packed"});
  }

  Result<> check() const {
    if (heads == 1 || scope == "head") return {};
    return Error{ErrorKind::usage,
                 fmt::format("klt: heads={} needs scope=head, not scope={}", heads, scope)};
  }

  bool packed() const { return stored == "packed"; }
};

// What is learnt: bases, each of the columns behind those of the one before, [kept x columns],
// their rows orthonormal; or, if they are stored packed, sizes and codes of them.
using Bases = std::vector<Matrix<float>>;
void save_bases(const Bases& bases, State& state);
void save_sizes(const Bases& bases, State& state);

}  // namespace kvsplice::codec
