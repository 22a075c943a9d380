#include "outrider/util/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

namespace outrider {
namespace {

cpu_set_t usable_set() {
  cpu_set_t usable;
  CPU_ZERO(&usable);
  if (sched_getaffinity(0, sizeof(usable), &usable) != 0) CPU_ZERO(&usable);
  return usable;
}

// Waits until `flag` is no longer `value`, at first without sleeping.
void wait_while(const std::atomic<int>& flag, int value, bool spins) {
  constexpr int kPauses = 2000;
  for (int i = 0; spins && i < kPauses; ++i) {
    if (flag.load(std::memory_order_acquire) != value) return;
    pause_processor();
  }
  flag.wait(value, std::memory_order_acquire);
}

// In this thread, and in those it starts, which keep it so.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~AllSignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

unsigned usable_processors() {
  const cpu_set_t usable = usable_set();
  const int count = CPU_COUNT(&usable);
  return count > 0 ? static_cast<unsigned>(count) : std::max(std::thread::hardware_concurrency(), 1U);
}

void spread_out(std::thread::native_handle_type thread, std::size_t nth) {
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
  if (pthread_setaffinity_np(thread, sizeof(one), &one) == 0) pthread_setaffinity_np(thread, sizeof(usable), &usable);
}

// One thread, which does one piece of work at a time and lives as long as the process.
class HelperThread {
 public:
  explicit HelperThread(std::size_t nth) : spins_(nth < usable_processors()) {
    const AllSignalsBlocked blocked;  // signals are for the threads that were there before
    std::thread thread([this] { serve(); });
    spread_out(thread.native_handle(), nth);
    thread.detach();
  }

  void start(std::function<void()> work) {
    work_ = std::move(work);
    state_.store(kWorking, std::memory_order_release);
    state_.notify_all();
  }
  void wait() const { wait_while(state_, kWorking, spins_); }

 private:
  static constexpr int kIdle = 0;
  static constexpr int kWorking = 1;

  void serve() {
    for (;;) {
      wait_while(state_, kIdle, spins_);
      work_();
      work_ = nullptr;
      state_.store(kIdle, std::memory_order_release);
      state_.notify_all();
    }
  }

  const bool spins_;
  std::atomic<int> state_ = kIdle;
  std::function<void()> work_;  // its owner is whoever state_ says
};

namespace {

// Threads without work. Never destroyed, as its threads may outlive everything else.
struct IdleThreads {
  std::mutex mutex;
  std::vector<std::unique_ptr<HelperThread>> all;
  std::vector<HelperThread*> idle;
};

IdleThreads& idle_threads() {
  static auto* const threads = new IdleThreads;
  return *threads;
}

}  // namespace

void Helpers::start(std::function<void()> work) {
  IdleThreads& threads = idle_threads();
  HelperThread* thread = nullptr;
  try {
    const std::lock_guard lock(threads.mutex);
    if (threads.idle.empty()) {
      threads.all.push_back(std::make_unique<HelperThread>(threads.all.size() + 1));
      threads.idle.push_back(threads.all.back().get());
    }
    thread = threads.idle.back();
    threads.idle.pop_back();
  } catch (const std::system_error&) {
    return work();  // no more threads to be had
  }
  working_.push_back(thread);
  thread->start(std::move(work));
}

void Helpers::join() {
  for (const HelperThread* thread : working_) thread->wait();
  if (working_.empty()) return;
  IdleThreads& threads = idle_threads();
  const std::lock_guard lock(threads.mutex);
  threads.idle.insert(threads.idle.end(), working_.begin(), working_.end());
  working_.clear();
}

}  // namespace outrider
