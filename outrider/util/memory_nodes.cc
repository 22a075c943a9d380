#include "outrider/util/memory_nodes.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstring>

namespace outrider {
namespace {

constexpr unsigned kWordBits = sizeof(unsigned long) * CHAR_BIT;
constexpr unsigned kMostNodes = 1024;
using NodeMask = std::array<unsigned long, kMostNodes / kWordBits>;

// glibc has no functions for these calls, and libnuma's print where a container forbids them.
long get_policy(NodeMask& nodes, unsigned long flags) {
  return syscall(SYS_get_mempolicy, nullptr, nodes.data(), kMostNodes, nullptr, flags);
}

long set_policy(int policy, const unsigned long* nodes) {
  return syscall(SYS_set_mempolicy, policy, nodes, nodes == nullptr ? 0 : kMostNodes);
}

}  // namespace

std::vector<unsigned> memory_nodes() {
  NodeMask mask{};
  if (get_policy(mask, MPOL_F_MEMS_ALLOWED) != 0) return {0};
  std::vector<unsigned> nodes;
  for (unsigned node = 0; node < kMostNodes; ++node) {
    if ((mask[node / kWordBits] >> (node % kWordBits) & 1) != 0) nodes.push_back(node);
  }
  return nodes.empty() ? std::vector<unsigned>{0} : nodes;
}

InterleavedMemory::InterleavedMemory() {
  NodeMask mask{};
  for (const unsigned node : memory_nodes()) mask[node / kWordBits] |= 1UL << (node % kWordBits);
  if (set_policy(MPOL_INTERLEAVE, mask.data()) != 0) failure_ = std::strerror(errno);
}

InterleavedMemory::~InterleavedMemory() {
  set_policy(MPOL_DEFAULT, nullptr);
}

}  // namespace outrider
