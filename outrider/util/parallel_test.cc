#include "outrider/util/parallel.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace outrider {
namespace {

TEST(ParallelRanges, CoversEachIndexOnce) {
  for (const unsigned threads : {1U, 2U, 5U}) {
    for (std::size_t count = 0; count < 40; ++count) {
      std::vector<std::atomic<int>> seen(count);
      parallel_ranges(count, threads, 1 + count % 7, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) ++seen[i];
      });
      for (const std::atomic<int>& n : seen) EXPECT_EQ(n, 1);
    }
  }
}

TEST(Helpers, WorkIsDoneAfterJoinAlsoOnThreadsThatSlept) {
  Helpers helpers;
  for (int round = 0; round < 20; ++round) {
    int written[3] = {0, 0, 0};
    for (int& w : written) helpers.start([&w, round] { w = round + 1; });
    helpers.join();
    for (const int w : written) EXPECT_EQ(w, round + 1);
    if (round % 5 == 4) std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
}

TEST(Helpers, SeveralThreadsMayHaveTheirOwn) {
  std::atomic<int> done = 0;
  {
    std::vector<std::jthread> callers;
    for (int i = 0; i < 4; ++i) {
      callers.emplace_back([&done] {
        for (int round = 0; round < 50; ++round) {
          int mine = 0;
          {
            Helpers helpers;
            helpers.start([&mine] { mine = 1; });
          }
          done += mine;
        }
      });
    }
  }
  EXPECT_EQ(done, 200);
}

TEST(UsableProcessors, AreThoseTheProcessMayRunOn) {
  unsigned seen = 0;
  std::jthread([&seen] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    seen = usable_processors();
  }).join();
  EXPECT_EQ(seen, 1U);
  EXPECT_GE(usable_processors(), 1U);
}

}  // namespace
}  // namespace outrider
