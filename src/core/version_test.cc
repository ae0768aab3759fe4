#include "core/version.h"

#include <gtest/gtest.h>

namespace kvsplice {
namespace {

TEST(Version, IsTheProjects) { EXPECT_STREQ(version(), KVSPLICE_VERSION); }

}  // namespace
}  // namespace kvsplice
