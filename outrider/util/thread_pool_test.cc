#include "outrider/util/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

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

TEST(ThreadPool, WakesThreadsThatFellAsleep) {
  ThreadPool pool(3);
  for (int round = 0; round < 200; ++round) {
    // Longer than threads look for work, now and then.
    if (round % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<std::size_t> sum = 0;
    pool.ranges(1 + round % 5, 1, [&](std::size_t begin, std::size_t end) { sum += end - begin; });
    ASSERT_EQ(sum, 1U + round % 5);
  }
}

}  // namespace
}  // namespace outrider
