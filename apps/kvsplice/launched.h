// What a process does about the others that mpirun, srun or their like have started with it
// (docs/sweeps.md).
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "core/os.h"
#include "core/progress.h"
#include "sweep/team.h"

namespace kvsplice::app {

Result<sweep::Team> launched_team();
std::string rank_prefix();  // "rank 0 of 3: "; empty for a process that was started alone

// A file that one process of a team writes when all that it needs is there.
class TeamOutput {
 public:
  explicit TeamOutput(std::string path);  // before the work begins
  // Done when this process or another has written it since.
  Result<> write(const sweep::Team& team, const std::function<Result<>()>& work,
                 const Progress& progress) const;

 private:
  std::string path_;
  std::optional<os::FileState> before_;
};

}  // namespace kvsplice::app
