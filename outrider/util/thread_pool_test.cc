#include "outrider/util/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>

namespace outrider {
namespace {

TEST(ThreadPool, CoversEachIndexOnce) {
  for (const unsigned threads : {1U, 2U, 5U}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (std::size_t count = 0; count < 40; ++count) {
      std::vector<std::atomic<int>> seen(count);
      pool.ranges(count, 1 + count % 7, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) ++seen[i];
      });
      for (const std::atomic<int>& n : seen) EXPECT_EQ(n, 1);
    }
  }
}

TEST(ThreadPool, PassesOnWhatWorkThrows) {
  ThreadPool pool(3);
  EXPECT_THROW(pool.ranges(30, 1,
                           [](std::size_t begin, std::size_t) {
                             if (begin != 0) throw std::runtime_error("no");
                           }),
               std::runtime_error);
  std::atomic<std::size_t> sum = 0;
  pool.ranges(30, 1, [&](std::size_t begin, std::size_t end) { sum += end - begin; });
  EXPECT_EQ(sum, 30U);
}

}  // namespace
}  // namespace outrider
