#include "outrider/util/memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "outrider/testing/sanitized.h"

namespace outrider {
namespace {

TEST(Memory, AvailableMemoryRespectsTheProcesssOwnLimit) {
  if (testing::kSanitized) GTEST_SKIP() << "sanitizers reserve more memory than any limit";
  const std::uint64_t before = available_memory();
  EXPECT_GT(before, 1U << 20);
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_DATA, &old), 0);
  rlimit limit = old;
  limit.rlim_cur = 1ULL << 40;
  if (old.rlim_max != RLIM_INFINITY && old.rlim_max < limit.rlim_cur) GTEST_SKIP() << "a limit is set already";
  ASSERT_EQ(setrlimit(RLIMIT_DATA, &limit), 0);
  EXPECT_LT(available_memory(), 1ULL << 40);
  EXPECT_LE(total_memory(), 1ULL << 40);
  EXPECT_LE(available_memory(), total_memory());
  limit.rlim_cur = 64 << 10;
  ASSERT_EQ(setrlimit(RLIMIT_DATA, &limit), 0);
  const std::uint64_t none = available_memory();
  ASSERT_EQ(setrlimit(RLIMIT_DATA, &old), 0);
  EXPECT_LE(none, 64U << 10);
}

}  // namespace
}  // namespace outrider
