#include "core/start_again.h"

#include <fmt/format.h>
#include <omp.h>
#include <sched.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

namespace kvsplice {

namespace {

// If OpenMP was told to bind threads (OMP_PROC_BIND, OMP_PLACES), it has tied this one to a single
// core. The program started again would take that core for all there are.
class Unbound {
 public:
  Unbound() {
    cpu_set_t all;
    CPU_ZERO(&all);
    for (int place = 0; place < omp_get_num_places(); ++place) {
      std::vector<int> cores(static_cast<size_t>(omp_get_place_num_procs(place)));
      omp_get_place_proc_ids(place, cores.data());
      for (int core : cores) CPU_SET(core, &all);
    }
    if (CPU_COUNT(&all) == 0 || sched_getaffinity(0, sizeof before_, &before_) != 0) return;
    changed_ = sched_setaffinity(0, sizeof all, &all) == 0;
  }
  ~Unbound() {
    if (changed_) sched_setaffinity(0, sizeof before_, &before_);
  }
  Unbound(const Unbound&) = delete;
  Unbound& operator=(const Unbound&) = delete;

 private:
  cpu_set_t before_;
  bool changed_ = false;
};

}  // namespace

Error start_again(char** argv) {
  // Then /proc/self/exe is the loader, which would take the first argument for a program.
  if (getauxval(AT_BASE) == 0) {
    return {ErrorKind::unsupported, "cannot start again: the loader was called by its name"};
  }
  const Unbound unbound;
  std::error_code code;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", code).string();
  if (code) {
    return {ErrorKind::io, fmt::format("cannot start again: /proc/self/exe: {}", code.message())};
  }
  execv(self.c_str(), argv);
  return {ErrorKind::io, fmt::format("cannot start {} again: {}", self, std::strerror(errno))};
}

}  // namespace kvsplice
