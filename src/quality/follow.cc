#include "quality/follow.h"

#include <algorithm>
#include <functional>

#include "quality/score.h"

namespace kvsplice::quality {

namespace {

// Calls `next` with the log-probabilities at each of `count` places; what it returns is fed.
using Next = std::function<host::Token(const LogProbs& log_probs)>;

Result<> walk(host::Context& context, std::span<const host::Token> lead, size_t count,
              const Next& next) {
  if (lead.empty() || count == 0) {
    return Error{ErrorKind::usage, "a continuation needs a token to begin with and one to follow"};
  }
  KVS_TRY(context.decode(lead, 1));
  for (size_t i = 0; i < count; ++i) {
    const host::Token token = next(LogProbs(context.logits(0)));
    if (i + 1 < count) KVS_TRY(context.decode({&token, 1}, 1));
  }
  return {};
}

}  // namespace

Result<std::vector<Rating>> follow(host::Context& context, std::span<const host::Token> lead,
                                   std::span<const host::Token> target) {
  std::vector<Rating> ratings;
  KVS_TRY(walk(context, lead, target.size(), [&](const LogProbs& log_probs) {
    const host::Token token = target[ratings.size()];
    ratings.push_back({size_t(token) == log_probs.best(), double(log_probs[size_t(token)])});
    return token;
  }));
  return ratings;
}

Result<std::vector<host::Token>> continue_greedily(host::Context& context,
                                                   std::span<const host::Token> lead,
                                                   size_t count) {
  std::vector<host::Token> tokens;
  KVS_TRY(walk(context, lead, count, [&](const LogProbs& log_probs) {
    tokens.push_back(static_cast<host::Token>(log_probs.best()));
    return tokens.back();
  }));
  return tokens;
}

Agreement agreement(std::span<const Rating> ratings) {
  Agreement a;
  a.tokens = ratings.size();
  if (ratings.empty()) return a;
  const auto diverged = std::find_if(ratings.begin(), ratings.end(),
                                     [](const Rating& rating) { return !rating.likeliest; });
  a.until_divergence = static_cast<size_t>(diverged - ratings.begin());
  size_t likeliest = 0;
  for (const Rating& rating : ratings) {
    likeliest += rating.likeliest;
    a.log_prob += rating.log_prob / double(a.tokens);
  }
  a.share = double(likeliest) / double(a.tokens);
  return a;
}

}  // namespace kvsplice::quality
