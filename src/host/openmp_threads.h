// The threads that llama.cpp computes with, for work between its operations. They wait for the next
// operation awake, so threads of our own would share processors with them.
#pragma once

#include <optional>

#include "core/threads.h"

namespace kvsplice::host {

// By OpenMP, of which programs built by GCC share one set of threads with llama.cpp. Of others it
// is none: loops run on threads of our own.
class OpenMpThreads {
 public:
  OpenMpThreads();

 private:
  class Team : public Executor {
   public:
    int threads() const override { return count; }
    void run(size_t n, const std::function<void(size_t)>& body) override;
    int count = 1;
  };
  Team team_;
  std::optional<UseExecutor> use_;
};

}  // namespace kvsplice::host
