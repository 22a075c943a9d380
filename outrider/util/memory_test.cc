#include "outrider/util/memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace outrider {
namespace {

TEST(Memory, AvailableIsBoundedByTheProcesssOwnLimit) {
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  GTEST_SKIP() << "sanitizers reserve more memory than any limit";
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers reserve more memory than any limit";
#endif
  const std::uint64_t before = available_memory();
  EXPECT_GT(before, 1U << 20);
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_DATA, &old), 0);
  rlimit limit = old;
  limit.rlim_cur = 1ULL << 40;
  if (old.rlim_max != RLIM_INFINITY && old.rlim_max < limit.rlim_cur) GTEST_SKIP() << "a limit is set already";
  ASSERT_EQ(setrlimit(RLIMIT_DATA, &limit), 0);
  EXPECT_LT(available_memory(), 1ULL << 40);
  limit.rlim_cur = 64 << 10;
  ASSERT_EQ(setrlimit(RLIMIT_DATA, &limit), 0);
  const std::uint64_t none = available_memory();
  ASSERT_EQ(setrlimit(RLIMIT_DATA, &old), 0);
  EXPECT_LE(none, 64U << 10);
}

}  // namespace
}  // namespace outrider
