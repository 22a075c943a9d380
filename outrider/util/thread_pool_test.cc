#include "outrider/util/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

namespace outrider {
namespace {

TEST(ThreadPool, CoversEachIndexOnce) {
  for (const unsigned threads : {1U, 2U, 5U}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (std::size_t i = 0; i < 80; ++i) {
      const std::size_t count = i / 2;
      const std::size_t grain = i % 2 == 0 ? 1 : 1 + count % 7;
      std::vector<std::atomic<int>> seen(count);
      pool.ranges(count, grain, [&](std::size_t begin, std::size_t end) {
        EXPECT_LT(begin, end);
        for (std::size_t at = begin; at < end; ++at) ++seen[at];
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

TEST(ThreadPool, PinnedThreadsHaveAProcessorOfTheirOwn) {
  cpu_set_t usable;
  ASSERT_EQ(sched_getaffinity(0, sizeof(usable), &usable), 0);
  const auto processors = static_cast<unsigned>(CPU_COUNT(&usable));
  for (const unsigned threads : {processors, processors + 1}) {
    ThreadPool pool(threads, ThreadPool::Pinning::kOwnProcessor);
    const std::thread::id caller = std::this_thread::get_id();
    std::atomic<unsigned> pinned = 0;
    std::atomic<unsigned> free = 0;
    pool.ranges(std::size_t{threads} * 50, 1, [&](std::size_t, std::size_t) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      cpu_set_t here;
      if (std::this_thread::get_id() == caller || sched_getaffinity(0, sizeof(here), &here) != 0) return;
      ++(CPU_COUNT(&here) == 1 ? pinned : free);
    });
    if (processors == 1) continue;
    EXPECT_EQ(pinned > 0, threads == processors);
    EXPECT_EQ(free > 0, threads != processors);
  }
}

TEST(ThreadPool, CallsWithinAndBesideACallDoTheirOwnWork) {
  ThreadPool pool(3);
  std::atomic<std::size_t> sum = 0;
  const auto outer = [&] {
    pool.ranges(8, 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) pool.ranges(10, 1, [&](std::size_t b, std::size_t e) { sum += e - b; });
    });
  };
  {
    std::vector<std::jthread> callers;
    for (int i = 0; i < 4; ++i) callers.emplace_back(outer);
  }
  EXPECT_EQ(sum, 4U * 8U * 10U);
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
