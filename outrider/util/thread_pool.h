#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace outrider {

// Processors that this process may use (taskset, cpusets, a control group's limit on their time), at least 1.
unsigned usable_processors();

// Threads that wait for work, for loops too short to start threads for. One caller at a time has them; a call within or
// beside another does all of its work itself. A forked child has no such threads and must not use its parent's pools.
//
// A thread that has nothing to do looks for work for some tens of microseconds, as long as gaps between the loops of a
// forward pass are, before it sleeps: waking one that sleeps takes as long. It lets others run meanwhile. Whoever is
// done first, the caller too, takes what a thread that did not get to run has not begun. Where there are more threads
// than processors they sleep at once.
class ThreadPool {
 public:
  enum class Pinning {
    kNone,
    // Each thread but the caller stays on a processor of its own, if there is one for each and no more: beside idle
    // ones, another process may need the processors that were chosen.
    kOwnProcessor,
  };

  // `threads` counts the caller: 1 starts none.
  explicit ThreadPool(unsigned threads, Pinning pinning = Pinning::kNone);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  unsigned threads() const { return static_cast<unsigned>(workers_.size()) + 1; }

  // Splits [0, count) into a few ranges a thread, none empty, always the same way, and calls work(begin, end) for
  // each, on the calling thread too; where a range would be smaller than `grain`, into fewer. Returns when all are
  // done, and throws what `work` threw.
  void ranges(std::size_t count, std::size_t grain, const std::function<void(std::size_t, std::size_t)>& work);

 private:
  void serve(unsigned worker);
  // Takes all parts of the round that nobody has, those of `thread` first.
  void take_all(std::uint64_t round, unsigned thread, unsigned parts);
  void take(unsigned part);
  // Waits until `holds`, at first without sleeping.
  template <typename Condition>
  void wait(std::condition_variable& sleep, const Condition& holds);

  std::mutex mutex_;  // of sleeping, and of failure_
  std::condition_variable start_;
  std::condition_variable done_;
  bool spins_ = true;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> busy_ = false;  // somebody is within ranges()
  // Number of the round, and in its lowest bits how many parts it has. What follows is written before it.
  std::atomic<std::uint64_t> round_ = 0;
  // By part: the round where it may be taken. Who changes that to 0 has it, and may read what follows.
  std::vector<std::atomic<std::uint64_t>> open_;
  std::atomic<unsigned> left_ = 0;  // parts that are not done
  const std::function<void(std::size_t, std::size_t)>* work_ = nullptr;
  std::size_t count_ = 0;
  unsigned parts_ = 0;
  std::exception_ptr failure_;
  std::vector<std::jthread> workers_;
};

// A pool without threads: the caller does all of the work. Any number of callers may use it at once.
ThreadPool& calling_thread();

}  // namespace outrider
