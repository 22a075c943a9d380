#include "outrider/util/thread_pool.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <fstream>
#include <string>
#include <utility>

#include "outrider/util/control_groups.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

constexpr std::chrono::microseconds kSpin{60};
constexpr int kPausesBeforeYielding = 1000;
constexpr unsigned kPartsOfAThread = 4;
constexpr std::uint64_t kPartsMask = 0xffff;

// Between two looks at what another thread is about to write.
void pause_processor() {
#ifdef __x86_64__
  __builtin_ia32_pause();
#endif
}

cpu_set_t usable_set() {
  cpu_set_t usable;
  CPU_ZERO(&usable);
  if (sched_getaffinity(0, sizeof(usable), &usable) != 0) CPU_ZERO(&usable);
  return usable;
}

// Puts a thread that was just started on a processor of its own, the `nth` after the caller's; from there the kernel
// may move it as it likes, unless it `stays`. Left alone, Linux may keep a new thread waiting behind its creator for
// several milliseconds, although another processor is idle.
void spread_out(std::thread::native_handle_type thread, std::size_t nth, bool stays) {
  const cpu_set_t usable = usable_set();
  const int here = sched_getcpu();
  // A hint: where it cannot be given, nothing is lost.
  const auto count = static_cast<std::size_t>(CPU_COUNT(&usable));
  if (here < 0 || here >= CPU_SETSIZE || count < 2 || nth % count == 0) return;
  int cpu = here;
  for (std::size_t left = nth % count; left != 0;) {
    cpu = (cpu + 1) % CPU_SETSIZE;
    if (CPU_ISSET(cpu, &usable)) --left;
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  if (pthread_setaffinity_np(thread, sizeof(one), &one) == 0 && !stays) {
    pthread_setaffinity_np(thread, sizeof(usable), &usable);
  }
}

unsigned processors_in_set() {
  const cpu_set_t usable = usable_set();
  const int count = CPU_COUNT(&usable);
  return count > 0 ? static_cast<unsigned>(count) : std::max(std::thread::hardware_concurrency(), 1U);
}

}  // namespace

unsigned usable_processors() {
  unsigned count = processors_in_set();
  for (const std::string& group : control_groups()) {
    double microseconds = 0;
    double period = 0;
    if (std::ifstream(group + "/cpu.max") >> microseconds >> period && period > 0) {
      count = std::min(count, static_cast<unsigned>(std::max(std::ceil(microseconds / period), 1.0)));
    }
  }
  return count;
}

ThreadPool& calling_thread() {
  static ThreadPool pool(1);
  return pool;
}

ThreadPool::ThreadPool(unsigned threads, Pinning pinning)
    : spins_(threads <= usable_processors()), open_(std::size_t{threads} * kPartsOfAThread) {
  if (open_.size() > kPartsMask) {
    throw Error(
        fmt::format("the number of threads is {}; it must be at most {}.", threads, kPartsMask / kPartsOfAThread));
  }
  const bool stay = pinning == Pinning::kOwnProcessor && threads == processors_in_set();
  for (unsigned i = 1; i < threads; ++i) {
    workers_.emplace_back([this, i] { serve(i); });
    spread_out(workers_.back().native_handle(), i, stay);
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
}

template <typename Condition>
void ThreadPool::wait(std::condition_variable& sleep, const Condition& holds) {
  if (spins_) {
    for (int i = 0; i < kPausesBeforeYielding; ++i) {
      if (holds()) return;
      pause_processor();
    }
    const auto end = std::chrono::steady_clock::now() + kSpin;
    do {
      if (holds()) return;
      std::this_thread::yield();
    } while (std::chrono::steady_clock::now() < end);
  }
  std::unique_lock lock(mutex_);
  sleep.wait(lock, holds);
}

void ThreadPool::take(unsigned part) {
  try {
    (*work_)(count_ * part / parts_, count_ * (part + 1) / parts_);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

void ThreadPool::take_all(std::uint64_t round, unsigned thread, unsigned parts) {
  const unsigned first = parts * thread / threads();
  for (unsigned i = 0; i < parts; ++i) {
    const unsigned part = (first + i) % parts;
    std::uint64_t expected = round;
    if (!open_[part].compare_exchange_strong(expected, 0)) continue;
    take(part);
    if (--left_ == 0 && thread != 0) {
      const std::lock_guard lock(mutex_);  // the caller has seen it, or sleeps
      done_.notify_one();
    }
  }
}

void ThreadPool::serve(unsigned worker) {
  std::uint64_t seen = 0;
  while (true) {
    wait(start_, [&] { return stop_ || round_ != seen; });
    if (stop_) return;
    seen = round_;
    take_all(seen, worker, static_cast<unsigned>(seen & kPartsMask));
  }
}

void ThreadPool::ranges(std::size_t count, std::size_t grain,
                        const std::function<void(std::size_t, std::size_t)>& work) {
  if (count == 0) return;
  const std::size_t most = threads() == 1 ? 1 : open_.size();
  auto parts = static_cast<unsigned>(std::clamp<std::size_t>(count / std::max<std::size_t>(grain, 1), 1, most));
  if (parts > threads()) parts = (parts + threads() - 1) / threads() * threads();  // as many for each thread
  if (parts > count) parts = static_cast<unsigned>(count);
  if (parts == 1 || busy_.exchange(true)) {
    work(0, count);
    return;
  }
  work_ = &work;
  count_ = count;
  parts_ = parts;
  left_ = parts;
  const std::uint64_t round = ((round_ | kPartsMask) + 1) | parts;
  for (unsigned part = 0; part < parts; ++part) open_[part] = round;
  {
    const std::lock_guard lock(mutex_);
    round_ = round;
  }
  start_.notify_all();
  take_all(round, 0, parts);
  wait(done_, [&] { return left_ == 0; });
  const std::exception_ptr failure = std::exchange(failure_, nullptr);
  busy_ = false;
  if (failure) std::rethrow_exception(failure);
}

}  // namespace outrider
