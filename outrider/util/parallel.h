#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

namespace outrider {

// Processors that this process may run on (taskset, cpusets), at least 1.
unsigned usable_processors();

// Between two looks at what another thread is about to write.
inline void pause_processor() {
#ifdef __x86_64__
  __builtin_ia32_pause();
#endif
}

// Puts a thread that was just started on a processor of its own, the `nth` after the caller's; from there the kernel
// may move it as it likes. Left alone, Linux may keep a new thread waiting behind its creator for several milliseconds,
// although another processor is idle.
void spread_out(std::thread::native_handle_type thread, std::size_t nth);

class HelperThread;

// Work that runs beside the thread that started it; done when this goes out of scope, or after join(). It must not
// throw. Threads outlive it: the next Helpers find them, for some tens of microseconds awake, where starting a thread
// takes longer than many a piece of work. A forked child has no such threads and must start none.
class Helpers {
 public:
  Helpers() = default;
  ~Helpers() { join(); }
  Helpers(const Helpers&) = delete;
  Helpers& operator=(const Helpers&) = delete;

  void start(std::function<void()> work);
  void join();

 private:
  std::vector<HelperThread*> working_;
};

// Splits [0, count) into at most `threads` ranges of at least `grain`, and calls work(begin, end) for each, one of them
// on the calling thread. Returns when all are done. `work` must not throw.
template <typename Work>
void parallel_ranges(std::size_t count, unsigned threads, std::size_t grain, const Work& work) {
  const std::size_t parts = std::clamp<std::size_t>(count / std::max<std::size_t>(grain, 1), 1, std::max(threads, 1U));
  Helpers helpers;  // what they refer to lives longer
  for (std::size_t i = 1; i < parts; ++i) {
    helpers.start([&work, begin = count * i / parts, end = count * (i + 1) / parts] { work(begin, end); });
  }
  work(std::size_t{0}, count / parts);
}

}  // namespace outrider
