#include "sweep/rank.h"

#include <gmock/gmock.h>

#include <map>

namespace kvsplice::sweep {
namespace {

Result<Rank> of(const std::map<std::string, std::string>& environment) {
  return rank_of([&](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

TEST(Rank, IsWhatLaunchersSay) {
  EXPECT_TRUE(of({})->is_alone());
  EXPECT_EQ(of({{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "3"}})->text(),
            "rank 1 of 3");
  EXPECT_EQ(of({{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}})->text(), "rank 0 of 2");
  EXPECT_EQ(of({{"SLURM_PROCID", "5"}, {"SLURM_STEP_NUM_TASKS", "6"}})->text(), "rank 5 of 6");
  // mpirun in a job of Slurm; a script of sbatch, which is one process whatever the job is of.
  EXPECT_EQ(of({{"OMPI_COMM_WORLD_RANK", "1"},
                {"OMPI_COMM_WORLD_SIZE", "2"},
                {"SLURM_PROCID", "0"},
                {"SLURM_STEP_NUM_TASKS", "1"}})
                ->text(),
            "rank 1 of 2");
  EXPECT_TRUE(of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}})->is_alone());
}

TEST(Rank, NonsenseIsRefused) {
  for (const auto& [number, count] : {std::pair{"3", "3"}, {"-1", "3"}, {"", "3"}, {"1x", "3"}}) {
    const auto rank = of({{"PMI_RANK", number}, {"PMI_SIZE", count}});
    ASSERT_FALSE(rank.ok()) << number;
    EXPECT_EQ(rank.error().kind, ErrorKind::usage);
    EXPECT_THAT(rank.error().message, ::testing::HasSubstr("PMI_RANK = '"));
  }
}

}  // namespace
}  // namespace kvsplice::sweep
