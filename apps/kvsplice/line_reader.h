// Lines of the standard input, as they are typed or come through a pipe.
#pragma once

#include <optional>
#include <string>

#include "kvsplice/result.h"

namespace kvsplice::app {

class LineReader {
 public:
  // Without the end of the line. Nothing at the end of the input, or once interrupted.
  Result<std::optional<std::string>> line();
  // Lines that end with a backslash are joined with the one behind.
  Result<std::optional<std::string>> message();

 private:
  Result<> read_more();

  std::string read_;
  bool ended_ = false;
};

}  // namespace kvsplice::app
