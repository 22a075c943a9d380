#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace outrider {

// Threads that wait for work, for loops too short to start threads for. One caller at a time.
class ThreadPool {
 public:
  // `threads` counts the caller: 1 starts none.
  explicit ThreadPool(unsigned threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  unsigned threads() const { return static_cast<unsigned>(workers_.size()) + 1; }

  // Splits [0, count) into one range a thread, always the same way, and calls work(begin, end) for each, one of them on
  // the calling thread; where a range would be smaller than `grain`, into fewer. Returns when all are done, and throws
  // what `work` threw.
  void ranges(std::size_t count, std::size_t grain, const std::function<void(std::size_t, std::size_t)>& work);

 private:
  void serve(unsigned worker);
  void take(unsigned part);

  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  std::uint64_t round_ = 0;
  unsigned running_ = 0;
  bool stop_ = false;
  const std::function<void(std::size_t, std::size_t)>* work_ = nullptr;
  std::size_t count_ = 0;
  unsigned parts_ = 0;
  std::exception_ptr failure_;
  std::vector<std::jthread> workers_;
};

}  // namespace outrider
