#pragma once

#include <string>
#include <vector>

namespace outrider {

// Nodes whose memory this process may use (NUMA: usually one a processor socket). At least one, 0.
std::vector<unsigned> memory_nodes();

// While it exists, pages that this thread touches first, of mapped files too, are spread evenly over all nodes, so that
// processors of all sockets read them at the speed of all memory together. What is in memory already stays where it is.
class InterleavedMemory {
 public:
  InterleavedMemory();
  ~InterleavedMemory();
  InterleavedMemory(const InterleavedMemory&) = delete;
  InterleavedMemory& operator=(const InterleavedMemory&) = delete;

  // Why the system did not allow it; empty if it did.
  const std::string& failure() const { return failure_; }

 private:
  std::string failure_;
};

}  // namespace outrider
