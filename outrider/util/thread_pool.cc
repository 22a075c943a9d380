#include "outrider/util/thread_pool.h"

#include <algorithm>
#include <exception>

namespace outrider {

ThreadPool::ThreadPool(unsigned threads) {
  for (unsigned i = 1; i < threads; ++i) {
    workers_.emplace_back([this, i] { serve(i); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
}

void ThreadPool::take(unsigned part) {
  try {
    (*work_)(count_ * part / parts_, count_ * (part + 1) / parts_);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

void ThreadPool::serve(unsigned worker) {
  std::uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    start_.wait(lock, [&] { return stop_ || round_ != seen; });
    if (stop_) return;
    seen = round_;
    if (worker >= parts_) continue;
    lock.unlock();
    take(worker);
    lock.lock();
    if (--running_ == 0) done_.notify_one();
  }
}

void ThreadPool::ranges(std::size_t count, std::size_t grain,
                        const std::function<void(std::size_t, std::size_t)>& work) {
  if (count == 0) return;
  const auto parts =
      static_cast<unsigned>(std::clamp<std::size_t>(count / std::max<std::size_t>(grain, 1), 1, threads()));
  if (parts == 1) {
    work(0, count);
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    work_ = &work;
    count_ = count;
    parts_ = parts;
    running_ = parts - 1;
    failure_ = nullptr;
    ++round_;
  }
  start_.notify_all();
  take(0);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return running_ == 0; });
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace outrider
