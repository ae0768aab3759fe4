// How long work tells its caller where it stands, and how the caller stops it. The library never
// prints; the program draws a bar.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "kvsplice/result.h"

namespace kvsplice {

struct Progress {
  // Called between units of work, never concurrently: `done` of `total` units of `what`.
  // Returning false asks the work to stop; it then ends with ErrorKind::interrupted.
  std::function<bool(const std::string& what, size_t done, size_t total)> on_step;

  Result<> step(const std::string& what, size_t done, size_t total) const {
    if (on_step && !on_step(what, done, total)) {
      return Error{ErrorKind::interrupted, what + ": stopped on request"};
    }
    return {};
  }
};

}  // namespace kvsplice
