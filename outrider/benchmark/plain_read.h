#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "outrider/util/thread_pool.h"

namespace outrider {

// The speed in GB/s of code that only reads `memory`: the reference for products of weights.
inline double plain_read_speed(std::span<const std::byte> memory, ThreadPool& pool, unsigned repetitions) {
  constexpr std::size_t kLine = 64;
  std::atomic<std::uint64_t> sink = 0;
  double best = 0;
  for (unsigned i = 0; i < repetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    pool.ranges(memory.size() / kLine, 1, [&](std::size_t begin, std::size_t end) {
      std::uint64_t sums[kLine / 8] = {};
      for (std::size_t line = begin; line < end; ++line) {
        std::uint64_t words[kLine / 8];
        std::memcpy(words, memory.data() + line * kLine, kLine);
        __builtin_prefetch(memory.data() + line * kLine + 8192);
        for (std::size_t j = 0; j < kLine / 8; ++j) sums[j] += words[j];
      }
      for (const std::uint64_t sum : sums) sink += sum;
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, static_cast<double>(memory.size()) / seconds * 1e-9);
  }
  return best;
}

}  // namespace outrider
