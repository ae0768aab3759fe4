// Another program, run to its end without a shell.
#pragma once

#include <string>
#include <vector>

#include "kvsplice/result.h"

namespace kvsplice::report {

struct Finished {
  int exit_code;  // 128 + signal if a signal ended it
  std::string output, errors;
};

// arguments[0] is looked up in PATH; `input` becomes its standard input. An error only if it could
// not be started.
Result<Finished> run_program(const std::vector<std::string>& arguments, const std::string& input);

}  // namespace kvsplice::report
