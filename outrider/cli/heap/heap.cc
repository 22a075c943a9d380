#include "outrider/cli/heap/heap.h"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace outrider {

void prepare_heap() {
  constexpr std::uintptr_t kStep = 96 << 20;
  constexpr std::uintptr_t kHugePage = 2 << 20;
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, kStep);
  // Larger than the free part of the heap, so that the heap grows now. Growing touches no page. (volatile: compilers
  // remove an unused allocation.)
  void* volatile block = std::malloc(1 << 20);
  std::free(block);
  void* const top = sbrk(0);
  const auto end = reinterpret_cast<std::uintptr_t>(top);
  const std::uintptr_t begin = (end - kStep + kHugePage - 1) / kHugePage * kHugePage;
  // Keeps small pages before the first huge one.
  const std::uintptr_t used = reinterpret_cast<std::uintptr_t>(block);
  constexpr std::size_t kHeader = 64;
  if (begin > used + kHeader) {
    void* volatile pad = std::malloc(begin - used - kHeader);
    static_cast<void>(pad);
  }
  // Without huge pages in the kernel this fails, which is harmless.
  madvise(static_cast<std::byte*>(top) - (end - begin), (end - begin) / kHugePage * kHugePage, MADV_HUGEPAGE);
}

void prepare_heap_for_serving() {
  mallopt(M_ARENA_MAX, 4);
  mallopt(M_MMAP_THRESHOLD, 4 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  mallopt(M_TOP_PAD, 1 << 20);
}

}  // namespace outrider
