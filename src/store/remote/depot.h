// The remote behind a store: asked only while its breaker allows it, and for no longer than whoever
// asks has time. What it brings is opened before it counts. Whatever is wrong with it is a miss.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "store/object.h"
#include "store/remote/breaker.h"
#include "store/remote/children.h"
#include "store/remote/job_queue.h"
#include "store/remote/remote.h"

namespace kvsplice::store {

struct DepotCounts {
  uint64_t hits = 0, misses = 0;            // prompts for which it had something, nothing
  uint64_t failures = 0;                    // calls that failed
  uint64_t spoilt = 0;                      // values that were not what their name says
  uint64_t got_objects = 0, got_bytes = 0;  // sound ones
  uint64_t put_objects = 0, put_bytes = 0;
  uint64_t refused = 0;  // objects that it would not take, or that are too large
  uint64_t dropped = 0;  // objects for which there was no room in the queue
  uint64_t queued = 0, queued_bytes = 0;
};

struct DepotView {
  std::string where;
  Breaker::State state = Breaker::State::closed;
  double seconds_until_next = 0;  // until it may be asked again
  DepotCounts counts;
  std::string last_error;
};

class Depot {
 public:
  Depot(std::unique_ptr<Remote> remote, const Key& key, Now now = steady_now);
  ~Depot();  // sends what is queued, for some seconds at most

  // The questions of one prompt. After a failure no more are asked. The breaker hears of all of
  // them together: a remote that answers one question of two is no better than none.
  class Visit {
   public:
    Visit(Depot& depot, TimePoint until) : depot_(depot), until_(until) {}
    ~Visit();
    // Takes objects that are there and sound, in order, until one is not or `take` says no.
    using Take = std::function<bool(const Object& object, ByteSpan sealed)>;
    void bring(std::span<const Hash> names, const Take& take);
    std::vector<Child> children(const Hash& parent);

   private:
    template <class Call>
    bool ask(const Call& call);
    bool open_one(const Hash& name, const Bytes& sealed, const Take& take);

    Depot& depot_;
    const TimePoint until_;
    bool asked_ = false;  // the breaker has allowed it
    bool ended_ = false;  // no more is asked
    bool failed_ = false;
    size_t brought_ = 0;
  };

  // Later, by a thread of its own.
  void put(const Object& object, Bytes sealed);
  DepotView view() const;

 private:
  void count_failure(const Error& error);
  void count_spoilt(const Hash& name, const Error& error);
  bool send(const Hash& parent, const Child& child, const Bytes& sealed, int& tries);
  Result<> tell_parent(const Hash& parent, const Child& child, Patience& patience);
  Result<std::vector<Child>> read_entry(const Hash& parent, Patience& patience);
  template <class Change>
  void change(const Change& change);

  const std::unique_ptr<Remote> remote_;
  const Key key_;
  Breaker breaker_;
  mutable std::mutex mutex_;  // of what follows
  DepotCounts counts_;
  std::string last_error_;
  JobQueue queue_;  // its thread uses the others, so it goes first
};

}  // namespace kvsplice::store
