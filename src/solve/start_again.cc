#include "solve/start_again.h"

#include <fmt/format.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace kvsplice {

Error start_again(char** argv) {
  // Then /proc/self/exe is the loader, which would take the first argument for a program.
  if (getauxval(AT_BASE) == 0) {
    return {ErrorKind::unsupported, "cannot start again: the loader was called by its name"};
  }
  std::error_code code;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", code).string();
  if (code) {
    return {ErrorKind::io, fmt::format("cannot start again: /proc/self/exe: {}", code.message())};
  }
  execv(self.c_str(), argv);
  return {ErrorKind::io, fmt::format("cannot start {} again: {}", self, std::strerror(errno))};
}

}  // namespace kvsplice
