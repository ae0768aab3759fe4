#include "load_watch.h"

#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <string_view>

namespace kvsplice::app {

namespace {

constexpr int kSeconds = 3;  // of processor time; loading takes hundredths of one

void give_up(int) {
  constexpr std::string_view message =
      "kvsplice: OpenBLAS finds no address space while it is loaded: raise the limit (ulimit -v) "
      "by 140 MB for each processor, or set OPENBLAS_NUM_THREADS=1\n";
  [[maybe_unused]] const auto told = ::write(STDERR_FILENO, message.data(), message.size());
  ::_exit(1);
}

void set_timer(int seconds) {
  const itimerval once{{0, 0}, {seconds, 0}};
  ::setitimer(ITIMER_PROF, &once, nullptr);
}

void watch(int, char**, char**) {
  rlimit space{};
  if (::getrlimit(RLIMIT_AS, &space) != 0 || space.rlim_cur == RLIM_INFINITY) return;
  std::signal(SIGPROF, give_up);
  set_timer(kSeconds);
}

// What stands here is called before the initialisers of shared libraries.
[[gnu::section(".preinit_array"), gnu::used]] void (*const begin)(int, char**, char**) = watch;

}  // namespace

void libraries_are_loaded() {
  set_timer(0);
  std::signal(SIGPROF, SIG_DFL);
}

}  // namespace kvsplice::app
