#pragma once

#include <algorithm>
#include <cstddef>
#include <thread>
#include <vector>

namespace outrider {

// Splits [0, count) into at most `threads` ranges of at least `grain`, and calls work(begin, end) for each, one of them
// on the calling thread. Returns when all are done. `work` must not throw.
template <typename Work>
void parallel_ranges(std::size_t count, unsigned threads, std::size_t grain, const Work& work) {
  const std::size_t parts = std::clamp<std::size_t>(count / std::max<std::size_t>(grain, 1), 1, std::max(threads, 1U));
  std::vector<std::jthread> workers;  // joined when this goes out of scope; what they refer to lives longer
  for (std::size_t i = 1; i < parts; ++i) {
    workers.emplace_back([&work, begin = count * i / parts, end = count * (i + 1) / parts] { work(begin, end); });
  }
  work(std::size_t{0}, count / parts);
}

}  // namespace outrider
