// Reading results directories back. What is in them may come from anywhere: every field is checked,
// and an error names the file.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "kvsplice/result.h"
#include "report/table.h"

namespace kvsplice::report {

struct StoredFigure {
  std::string name, caption, svg;
};

struct StoredInput {
  std::string path, hash;
  int64_t bytes;
};

struct StoredResults {
  std::string dir, verb, command, version, started, finished;
  std::vector<std::pair<std::string, std::string>> machine, settings;
  std::vector<std::string> findings;
  std::vector<StoredInput> inputs;
  std::vector<Table> tables;
  std::vector<StoredFigure> figures;
};

Result<StoredResults> read_results(const std::filesystem::path& dir);

}  // namespace kvsplice::report
