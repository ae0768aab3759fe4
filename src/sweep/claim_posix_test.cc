#include <gmock/gmock.h>

#include <csignal>

#include "core/temporary_folder.h"
#include "sweep/claim.h"
#include "sweep/processes_test.h"

namespace kvsplice::sweep {
namespace {

class ClaimTest : public ::testing::Test {
 protected:
  std::optional<Claim> take(const std::string& name) {
    auto claim = Claim::take(folder.path(), name);
    EXPECT_TRUE(claim.ok()) << claim.error().message;
    return claim.ok() ? std::move(*claim) : std::nullopt;
  }
  TemporaryFolder folder = *TemporaryFolder::create("claims");
};

TEST_F(ClaimTest, IsOneProcesssUntilItLetsGo) {
  std::optional<Claim> first = take("a");
  ASSERT_TRUE(first);
  EXPECT_FALSE(take("a"));
  EXPECT_TRUE(take("b"));
  const pid_t other = in_a_process([&] { return take("a") ? 1 : 0; });
  EXPECT_EQ(end_of(other), 0) << "another process got it";
  first.reset();
  EXPECT_TRUE(take("a"));
}

TEST_F(ClaimTest, IsFreeWhenItsProcessIsKilled) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t other = in_a_process([&] {
    const auto claim = take("a");
    (void)!::write(ready[1], claim ? "1" : "0", 1);
    for (;;) ::pause();
    return 0;
  });
  char got = '0';
  ASSERT_EQ(::read(ready[0], &got, 1), 1);
  EXPECT_EQ(got, '1');
  EXPECT_FALSE(take("a"));
  ::kill(other, SIGKILL);
  EXPECT_EQ(end_of(other), -SIGKILL);
  EXPECT_TRUE(take("a"));
}

TEST_F(ClaimTest, LeavesNoFile) {
  {
    const auto claim = take("a");
    std::optional<Claim> moved = take("b");
    moved = take("c");
  }
  size_t files = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder.path())) {
    files += file.path().filename().string().starts_with(".kvs-claim-");
  }
  EXPECT_EQ(files, 0u);
}

TEST_F(ClaimTest, NeedsAFolder) {
  const auto none = Claim::take(folder.file("nowhere"), "a");
  ASSERT_FALSE(none.ok());
  EXPECT_THAT(none.error().message, ::testing::HasSubstr("nowhere"));
}

}  // namespace
}  // namespace kvsplice::sweep
