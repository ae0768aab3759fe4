// How a model continues what is in its cache, a token at a time as in generation.
#pragma once

#include <span>
#include <vector>

#include "host/model.h"

namespace kvsplice::quality {

// What the model thought of a token before it saw it.
struct Rating {
  bool likeliest = false;
  double log_prob = 0;
};

// Feeds `lead`, then `target` token by token, each whatever the model would have chosen. As long as
// all are likeliest, this is greedy decoding to the bit. Neither may be empty.
Result<std::vector<Rating>> follow(host::Context& context, std::span<const host::Token> lead,
                                   std::span<const host::Token> target);

// The `count` tokens of greedy decoding behind `lead`; goes on where the model would end.
Result<std::vector<host::Token>> continue_greedily(host::Context& context,
                                                   std::span<const host::Token> lead, size_t count);

// A sequence of ratings in figures.
struct Agreement {
  size_t tokens = 0;
  size_t until_divergence = 0;  // tokens before the first that was not the likeliest
  double share = 0;             // of all tokens that were, each behind the target's own past
  double log_prob = 0;          // mean
  bool exact() const { return until_divergence == tokens; }
};
Agreement agreement(std::span<const Rating> ratings);

}  // namespace kvsplice::quality
