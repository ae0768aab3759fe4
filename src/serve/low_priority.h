// For what has time: its thread gets little of the processor while others want it, and its loops
// run on that thread alone.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include "core/threads.h"

namespace kvsplice::serve {

class AtLowPriority {
 public:
  AtLowPriority() { ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice); }

 private:
  class Alone final : public Executor {
   public:
    int threads() const override { return 1; }
    void run(size_t n, const std::function<void(size_t)>& body) override {
      for (size_t i = 0; i < n; ++i) body(i);
    }
  };
  static constexpr int kNice = 10;
  Alone alone_;
  UseExecutor use_{alone_};
};

}  // namespace kvsplice::serve
