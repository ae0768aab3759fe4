// How far the next-token predictions of the server at hand move when cells have been through
// something: the measure by which a codec is judged where it is to be used.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "host/state_target.h"
#include "serve/upstream.h"

namespace kvsplice::serve {

// The Kullback-Leibler divergence of q from p, in nats, by the tokens that both name; all others
// count as one. So it is at most the divergence of the whole distributions.
double divergence(const Upstream::Likely& p, const Upstream::Likely& q);

// What the server predicts behind the first n tokens, of which all but the last are restored from
// these cells.
class Predictor {
 public:
  // folder: shared with the server. The slot is the caller's for as long.
  Predictor(const Upstream& upstream, int slot, std::string folder, const ModelShape& shape,
            host::StateTarget target);
  Result<Upstream::Likely> behind(const KvView& cells, std::span<const int32_t> tokens) const;

 private:
  const Upstream& upstream_;
  int slot_;
  std::string folder_;
  const ModelShape& shape_;
  host::StateTarget target_;
};

// What a q4_0 cache makes of cells.
KvBlock<uint16_t> through_q4_0(const KvView& cells, const ModelShape& shape);

}  // namespace kvsplice::serve
