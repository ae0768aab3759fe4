// Processes that do one work together: each gets the same command and comes to the same lists of
// jobs, and whoever claims a job does it. What is done is seen by its results, which lie in a
// folder that all of them see; so a process that dies costs the job it was at, which another one
// takes, and one that comes later joins in. Nobody leads, and nothing is sent.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/progress.h"
#include "sweep/rank.h"

namespace kvsplice::sweep {

struct Job {
  std::string name;               // of its claim, among all of the folder
  std::function<bool()> is_done;  // by anybody; asked again and again
  std::function<Result<>()> work;
};

// One whose result is a file, which appears whole.
Job job_of_file(const std::filesystem::path& file, std::function<Result<>()> work);

class Team {
 public:
  Team() = default;  // of one, which claims nothing
  explicit Team(Rank rank) : rank_(rank) {}

  const Rank& rank() const { return rank_; }
  bool is_alone() const { return rank_.is_alone(); }
  size_t jobs_done_here() const { return *done_here_; }

  // Returns when all jobs are done, here or elsewhere, or one has failed here; a failure elsewhere
  // is tried again here. One after the other, or `at_once`, each on a thread of its own: then
  // `is_done`, `work` and `progress` are called by several threads.
  Result<> share(const std::filesystem::path& folder, const std::vector<Job>& jobs,
                 const Progress& progress, size_t at_once = 1) const;

  // What every process does for itself, one after the other.
  Result<> in_turn(const std::filesystem::path& folder, const std::string& name,
                   const std::function<Result<>()>& work, const Progress& progress) const;

 private:
  Rank rank_;
  std::shared_ptr<std::atomic<size_t>> done_here_ = std::make_shared<std::atomic<size_t>>(0);
};

}  // namespace kvsplice::sweep
