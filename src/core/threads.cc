#include "core/threads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/memory.h"
#include "core/os.h"

namespace kvsplice {

namespace {

thread_local Executor* t_executor = nullptr;
thread_local bool t_within_body = false;

// Of the bodies that threw, the first by number.
class FirstThrown {
 public:
  explicit FirstThrown(size_t bodies) : at_(bodies) {}

  bool before(size_t i) const { return at_.load(std::memory_order_relaxed) < i; }

  void note(size_t i) {
    const std::lock_guard lock(mutex_);
    if (before(i)) return;
    at_ = i;
    thrown_ = std::current_exception();
  }

  void rethrow() const {
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  std::atomic<size_t> at_;
  std::exception_ptr thrown_;
  std::mutex mutex_;
};

class WithinBody {
 public:
  WithinBody() : before_(t_within_body) { t_within_body = true; }
  ~WithinBody() { t_within_body = before_; }
  WithinBody(const WithinBody&) = delete;
  WithinBody& operator=(const WithinBody&) = delete;

 private:
  bool before_;
};

// The bodies of a loop. Whoever works on it takes the next one that nobody has taken.
class Loop {
 public:
  Loop(size_t n, const std::function<void(size_t)>& body) : n_(n), body_(body), thrown_(n) {}

  void run(size_t i) {
    if (thrown_.before(i)) return;
    const WithinBody within;
    try {
      body_(i);
    } catch (...) {
      thrown_.note(i);
    }
  }

  void work() {
    for (size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < n_;) run(i);
  }

  void rethrow() const { thrown_.rethrow(); }

 private:
  size_t n_;
  const std::function<void(size_t)>& body_;
  std::atomic<size_t> next_{0};
  FirstThrown thrown_;
};

// Loops often follow each other at once, and to wake a thread takes longer than a short body.
template <class Ready>
void spin_until(const Ready& ready) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(100);
  while (!ready() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
}

// Threads that help with loops. The one that starts a loop works on it itself and waits only for
// those who are at it, so a loop ends even if nobody comes to help. The pool is never destroyed: at
// the end of the process its threads may be anywhere.
class Pool {
 public:
  static Pool& instance() {
    [[maybe_unused]] static const bool watched = renewed_in_children();
    return *current();
  }

  void run(Loop& loop, size_t helpers) {
    Offer offer{&loop, helpers};
    publish(offer);
    loop.work();
    withdraw(offer);
  }

 private:
  static Pool*& current() {
    static Pool* pool = new Pool;
    return pool;
  }

  // A forked process has none of the threads, and what they waited on is of no use to it.
  static bool renewed_in_children() {
    os::in_forked_children([] { current() = new Pool; });
    return true;
  }

  struct Offer {
    Loop* loop;
    size_t wanted;                  // helpers that have not come yet
    std::atomic<size_t> inside{0};  // those at work
    Offer* next = nullptr;
  };

  void publish(Offer& offer) {
    {
      const std::lock_guard lock(mutex_);
      grow(offer.wanted);
      offer.next = offers_;
      offers_ = &offer;
      wanted_ += offer.wanted;
    }
    if (offer.wanted == 1) {
      offered_.notify_one();
    } else {
      offered_.notify_all();
    }
  }

  void withdraw(Offer& offer) {
    {
      const std::lock_guard lock(mutex_);
      Offer** at = &offers_;
      while (*at != &offer) at = &(*at)->next;
      *at = offer.next;
      wanted_ -= offer.wanted;
    }
    const auto alone = [&] { return offer.inside.load(std::memory_order_acquire) == 0; };
    spin_until(alone);
    std::unique_lock lock(mutex_);
    left_.wait(lock, alone);
  }

  // Where no more threads are to be had, those that are there do the work.
  void grow(size_t threads) {
    try {
      for (; threads_ < threads; ++threads_) std::thread([this] { help(); }).detach();
    } catch (const std::system_error&) {
    } catch (const std::bad_alloc&) {
    }
  }

  [[noreturn]] void help() {
    for (;;) {
      Offer& offer = take();
      offer.loop->work();
      leave(offer);
    }
  }

  Offer& take() {
    spin_until([&] { return wanted_.load(std::memory_order_relaxed) > 0; });
    std::unique_lock lock(mutex_);
    offered_.wait(lock, [&] { return wanted_ > 0; });
    Offer* offer = offers_;
    while (offer->wanted == 0) offer = offer->next;
    --offer->wanted;
    --wanted_;
    ++offer->inside;
    return *offer;
  }

  void leave(Offer& offer) {
    const std::lock_guard lock(mutex_);
    // After this the offer may be gone.
    if (offer.inside.fetch_sub(1, std::memory_order_release) == 1) left_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable offered_, left_;
  Offer* offers_ = nullptr;
  std::atomic<size_t> wanted_{0};  // over all offers
  size_t threads_ = 0;
};

// OMP_NUM_THREADS is what engines and job systems set for all that share a machine.
int usual_count() {
  const char* wish = std::getenv("OMP_NUM_THREADS");
  const long n = wish == nullptr ? 0 : std::strtol(wish, nullptr, 10);
  return n >= 1 && n <= 4096 ? static_cast<int>(n) : os::processors();
}

std::atomic<int>& own_count() {
  static std::atomic<int> count = usual_count();
  return count;
}

}  // namespace

int thread_count() {
  if (t_within_body) return 1;
  return t_executor != nullptr ? std::max(1, t_executor->threads()) : own_count().load();
}

void set_thread_count(int n) { own_count() = std::max(1, n); }

UseExecutor::UseExecutor(Executor& executor) : before_(t_executor) { t_executor = &executor; }
UseExecutor::~UseExecutor() { t_executor = before_; }

void parallel_for(size_t n, const std::function<void(size_t)>& body) {
  const size_t threads = std::min(n, static_cast<size_t>(thread_count()));
  if (threads <= 1) {
    for (size_t i = 0; i < n; ++i) body(i);
    return;
  }
  Loop loop(n, body);
  if (t_executor != nullptr) {
    t_executor->run(n, [&](size_t i) { loop.run(i); });
  } else {
    Pool::instance().run(loop, threads - 1);
  }
  loop.rethrow();
}

Result<> parallel_try(size_t n, const std::function<Result<>(size_t)>& body) {
  return within_memory([&]() -> Result<> {
    std::vector<Result<>> results(n);
    parallel_for(n, [&](size_t i) { results[i] = within_memory([&] { return body(i); }); });
    for (auto& result : results) KVS_TRY(std::move(result));
    return {};
  });
}

void parallel_chunks(size_t n, size_t chunk,
                     const std::function<void(size_t first, size_t count)>& body) {
  parallel_for((n + chunk - 1) / chunk, [&](size_t i) {
    const size_t first = i * chunk;
    body(first, std::min(chunk, n - first));
  });
}

}  // namespace kvsplice
