// A file of lines to which several processes add, and which each of them reads as it grows.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/descriptor.h"

namespace kvsplice::sweep {

class SharedLines {
 public:
  explicit SharedLines(std::filesystem::path path) : path_(std::move(path)) {}

  // Whole lines that have come since the last call, without their ends. None if there is no file.
  Result<std::vector<std::string>> more();
  // Locks the file, which is made if need be, so that lines of several processes stay whole. What a
  // killed one has left half written becomes a line of its own.
  Result<> add(const std::string& line) const;

 private:
  std::filesystem::path path_;
  uint64_t read_ = 0;  // bytes
};

}  // namespace kvsplice::sweep
