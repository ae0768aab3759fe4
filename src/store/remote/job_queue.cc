#include "store/remote/job_queue.h"

namespace kvsplice::store {

JobQueue::JobQueue(uint64_t most_bytes, Milliseconds pause)
    : most_bytes_(most_bytes), pause_(pause), thread_([this] { work(); }) {}

JobQueue::~JobQueue() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

bool JobQueue::push(uint64_t bytes, Job job) {
  const std::lock_guard lock(mutex_);
  if (bytes > most_bytes_ - bytes_) {
    ++dropped_;
    return false;
  }
  waiting_.push_back({bytes, std::move(job)});
  bytes_ += bytes;
  changed_.notify_all();
  return true;
}

void JobQueue::drain(Milliseconds most) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, most, [&] { return waiting_.empty() || pausing_; });
}

JobQueue::View JobQueue::view() const {
  const std::lock_guard lock(mutex_);
  return {waiting_.size(), bytes_, dropped_};
}

// The job at hand stays in front, so that it is counted until it is done.
void JobQueue::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return ending_ || !waiting_.empty(); });
    if (ending_) return;
    const Job& job = waiting_.front().job;  // a deque leaves it in place while others are added
    lock.unlock();
    const bool done = job();
    lock.lock();
    if (done) {
      bytes_ -= waiting_.front().bytes;
      waiting_.pop_front();
      changed_.notify_all();
      continue;
    }
    pausing_ = true;
    changed_.notify_all();
    changed_.wait_for(lock, pause_, [&] { return ending_; });
    pausing_ = false;
  }
}

}  // namespace kvsplice::store
