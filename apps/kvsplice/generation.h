// A context that is being filled: its tokens, those that wait to be evaluated, and how fast it
// went.
#pragma once

#include "archive.h"
#include "core/stopwatch.h"

namespace kvsplice::app {

// How many tokens fit into a context, and what says so: "the context of 512 tokens".
struct Room {
  size_t tokens = 0;
  std::string bounded_by;
};

class Generation {
 public:
  // All but the context have to outlive it.
  Generation(const RunArguments& a, const host::Model& model, host::Context context, Room room,
             Archive& archive)
      : a_(a),
        model_(model),
        context_(std::move(context)),
        room_(std::move(room)),
        archive_(archive),
        sampler_(a.sampler) {}

  // What the archive has opened, in place of what is there.
  Result<> restore();
  void add(std::span<const host::Token> tokens);  // to those that wait
  // Evaluates those that wait, until Ctrl-C; the last one's logits say what comes next. If none
  // waits the newest is evaluated again.
  Result<> evaluate();
  // Adds tokens, and puts them out, until the text ends, `most` have been made, the room is full or
  // Ctrl-C is pressed. The last of `most` waits to be evaluated.
  Result<> generate(size_t most);
  void clear();

  const host::Context& context() const { return context_; }
  const std::vector<host::Token>& tokens() const { return tokens_; }
  const Room& room() const { return room_; }
  size_t room_left() const { return room_.tokens - tokens_.size(); }
  // The last generate() did.
  bool stopped_for_room() const { return stopped_for_room_; }

  std::string describe_restoring() const;  // "restored 60 tokens in 0.10 s (600/s)"
  std::string describe_speed() const;      // "evaluated 9 tokens in 0.10 s (90/s), generated ..."
  std::string describe_cache() const;      // "cache: 1.234 MB for 512 tokens, ..."
  std::vector<std::string> statistics() const;

 private:
  struct Work {
    size_t tokens = 0;
    double seconds = 0;
    double rate() const { return kvsplice::rate(tokens, seconds); }
  };
  Result<> add_tokens(size_t most);

  const RunArguments& a_;
  const host::Model& model_;
  host::Context context_;
  Room room_;
  Archive& archive_;
  host::Sampler sampler_;
  std::vector<host::Token> tokens_;  // in the context, then those that wait
  Work restored_, evaluated_, generated_;
  bool stopped_for_room_ = false;
};

}  // namespace kvsplice::app
