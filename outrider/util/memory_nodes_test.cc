#include "outrider/util/memory_nodes.h"

#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace outrider {
namespace {

int policy() {
  int mode = -1;
  return syscall(SYS_get_mempolicy, &mode, nullptr, 0, nullptr, 0) == 0 ? mode : -1;
}

TEST(MemoryNodes, MemoryIsInterleavedWhileAsked) {
  if (policy() != MPOL_DEFAULT) GTEST_SKIP() << "the system has no memory policies, or one is set already";
  {
    const InterleavedMemory interleaved;
    if (!interleaved.failure().empty()) GTEST_SKIP() << "the system forbids it: " << interleaved.failure();
    EXPECT_EQ(policy(), MPOL_INTERLEAVE);
  }
  EXPECT_EQ(policy(), MPOL_DEFAULT);
}

TEST(MemoryNodes, PagesAreSpreadOverAllNodes) {
  constexpr std::size_t kPage = 4096;
  constexpr std::size_t kPages = 256;
  const std::vector<unsigned> nodes = memory_nodes();
  if (nodes.size() < 2) GTEST_SKIP() << "this machine has one node";
  void* at = mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(at, MAP_FAILED);
  madvise(at, kPages * kPage, MADV_NOHUGEPAGE);
  std::vector<void*> pages;
  {
    const InterleavedMemory interleaved;
    if (!interleaved.failure().empty()) GTEST_SKIP() << "the system forbids it: " << interleaved.failure();
    for (std::size_t i = 0; i < kPages; ++i) {
      pages.push_back(static_cast<std::byte*>(at) + i * kPage);
      *static_cast<std::byte*>(pages.back()) = std::byte{1};
    }
  }
  std::vector<int> where(kPages);
  ASSERT_EQ(syscall(SYS_move_pages, 0, kPages, pages.data(), nullptr, where.data(), 0), 0);
  for (const unsigned node : nodes) {
    EXPECT_GE(static_cast<std::size_t>(std::ranges::count(where, static_cast<int>(node))), kPages / nodes.size() / 2);
  }
  munmap(at, kPages * kPage);
}

}  // namespace
}  // namespace outrider
