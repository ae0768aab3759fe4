// Work that nobody waits for, done in order by a thread of its own. What does not fit is dropped.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "store/remote/patience.h"

namespace kvsplice::store {

class JobQueue {
 public:
  using Job = std::function<bool()>;  // false: not now; it is tried again after a pause

  explicit JobQueue(uint64_t most_bytes, Milliseconds pause = Milliseconds(1000));
  ~JobQueue();  // after the job at hand; the others are lost

  // bytes: what the job holds until it is done. False: dropped, and counted.
  bool push(uint64_t bytes, Job job);
  // Until all is done, a job says "not now", or so much time has passed.
  void drain(Milliseconds most);

  struct View {
    size_t jobs = 0;  // with the one at hand
    uint64_t bytes = 0, dropped = 0;
  };
  View view() const;

 private:
  struct Waiting {
    uint64_t bytes;
    Job job;
  };
  void work();

  const uint64_t most_bytes_;
  const Milliseconds pause_;
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::deque<Waiting> waiting_;
  uint64_t bytes_ = 0, dropped_ = 0;
  bool pausing_ = false, ending_ = false;
  std::thread thread_;
};

}  // namespace kvsplice::store
