// A codec without calibration: fitted to cells that the store has kept without loss, judged by what
// the server at hand predicts from them, and used if it does less harm than llama.cpp's q4_0.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/progress.h"
#include "host/state_target.h"
#include "serve/upstream.h"
#include "session/records.h"
#include "store/lines.h"

namespace kvsplice::serve {

struct LearnOptions {
  size_t most_tokens = 32768;  // that it is fitted to
  std::optional<double> kld;   // the most divergence; none: what q4_0 costs here
};

struct Learnt {
  std::shared_ptr<const codec::Codec> codec;
  double kld = 0, q4_0 = 0;  // mean divergence from what follows exact cells, in nats a token
  size_t tokens = 0;         // fitted to
  size_t predictions = 0;    // judged by
};

// Where a server's predictions are asked for: a slot that nobody uses meanwhile, and what goes
// through it.
struct Laboratory {
  const Upstream& upstream;
  int slot;
  std::string folder;  // shared with the server
  host::StateTarget target;
};

class Learner {
 public:
  // roots: whose objects are without loss and of this model. coder: without a codec.
  Learner(const store::Store& store, std::vector<store::Hash> roots, session::Coder coder,
          LearnOptions options);

  // Tokens that there are to learn from.
  Result<size_t> tokens() const;
  // Fits with wider steps first. Errors: numeric if no codec does as little harm as it must; says
  // how much the best does. `borrow` calls its argument with a slot while nobody else uses it.
  using Borrow = std::function<Result<>(const std::function<Result<>(const Laboratory&)>&)>;
  Result<Learnt> learn(const Borrow& borrow, const Progress& progress) const;

 private:
  struct Parts {
    std::vector<store::Hash> fit;
    std::vector<store::Line> held;  // conversations that nothing is fitted to
  };
  struct Costs {
    double codec = 0, q4_0 = 0;  // nats
  };
  bool is_ours(const store::Entry& entry) const;
  Parts divide(const std::vector<store::Line>& lines) const;
  Result<Costs> costs_behind(const Laboratory& at, const KvView& exact,
                             std::span<const int32_t> tokens, const session::Coder& coder) const;
  Result<> judge(const Borrow& borrow, const std::vector<KvBlock<uint16_t>>& held,
                 const codec::Codec& codec, const Progress& progress, Learnt& learnt) const;

  const store::Store& store_;
  std::vector<store::Hash> roots_;
  session::Coder coder_;
  LearnOptions options_;
};

}  // namespace kvsplice::serve
