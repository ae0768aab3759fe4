#include "report/machine.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>

#include "simd/limits_kernel.h"
#include "solve/blas_core.h"

namespace kvsplice::report {

namespace {

// The value after the first `key` and `separator` at the start of a line, without quotes.
std::string value_in(const char* path, std::string_view key, char separator) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t at = line.find(separator);
    if (at == std::string::npos || !line.starts_with(key)) continue;
    const size_t first = line.find_first_not_of(" \t\"", at + 1);
    if (first == std::string::npos) return "";
    const size_t last = line.find_last_not_of(" \t\"");
    return line.substr(first, last - first + 1);
  }
  return "";
}

int usable_cores() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
}

std::string operating_system() {
  std::string name = value_in("/etc/os-release", "PRETTY_NAME", '=');
  utsname u{};
  if (::uname(&u) != 0) return name;
  const std::string kernel = fmt::format("{} {} {}", u.sysname, u.release, u.machine);
  return name.empty() ? kernel : name + ", " + kernel;
}

}  // namespace

Machine this_machine() {
  Machine m;
  m.cpu = value_in("/proc/cpuinfo", "model name", ':');
  if (m.cpu.empty()) m.cpu = "unknown";
  m.cores = usable_cores();
  m.memory = uint64_t(::sysconf(_SC_PHYS_PAGES)) * uint64_t(::sysconf(_SC_PAGE_SIZE));
  m.os = operating_system();
#ifdef __clang__
  m.compiler = __VERSION__;
#else
  m.compiler = "GCC " __VERSION__;
#endif
  m.simd = simd_target_name();
  m.blas = blas_core().text();
  return m;
}

}  // namespace kvsplice::report
