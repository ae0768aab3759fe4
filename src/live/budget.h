// How many tokens a live cache holds in so many bytes.
#pragma once

#include "live/layer_cache.h"

namespace kvsplice::live {

class Budget {
 public:
  // Of tokens that come so many together, at most.
  Budget(const LiveForm& form, const LiveOptions& options, size_t at_once)
      : form_(form), options_(options), at_once_(at_once) {}

  // With all tables, and whatever comes on the way there: never less than a cache of no more tokens
  // takes.
  uint64_t bytes(size_t tokens) const;
  // The most tokens, up to `most`.
  size_t tokens(uint64_t bytes, size_t most) const;
  // So many that a group is coded whose tokens are in no window any more: fewer would be smaller in
  // half precision.
  size_t least_tokens() const { return most_exact() + kGroup; }

 private:
  // Groups are moved before tokens come.
  size_t most_exact() const { return options_.sinks + options_.window + kGroup - 1 + at_once_; }

  const LiveForm& form_;
  LiveOptions options_;
  size_t at_once_;
};

}  // namespace kvsplice::live
