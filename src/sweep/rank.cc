#include "sweep/rank.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>

namespace kvsplice::sweep {

namespace {

struct Launcher {
  const char *number, *count;
};
// Open MPI; MPICH and Intel MPI; srun. A script of sbatch has a SLURM_PROCID, too, but is no step.
constexpr Launcher kLaunchers[] = {{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                   {"PMI_RANK", "PMI_SIZE"},
                                   {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"}};

bool read_number(const char* text, size_t& number) {
  const char* end = text + std::strlen(text);
  const auto [stopped, error] = std::from_chars(text, end, number);
  return error == std::errc() && stopped == end;
}

}  // namespace

std::string Rank::text() const { return fmt::format("rank {} of {}", number, count); }

Result<Rank> rank_of(const Variables& variables) {
  for (const Launcher& l : kLaunchers) {
    const char *number = variables(l.number), *count = variables(l.count);
    if (number == nullptr || count == nullptr) continue;
    Rank rank;
    if (read_number(number, rank.number) && read_number(count, rank.count) &&
        rank.number < rank.count) {
      return rank;
    }
    return Error{ErrorKind::usage,
                 fmt::format("{} = '{}' of {} = '{}' is no rank; legal: 0 ... one less than those",
                             l.number, number, l.count, count)};
  }
  return Rank();
}

}  // namespace kvsplice::sweep
