#pragma once

#include <cstdint>

namespace outrider {

// The size of a forward pass.
struct PassSize {
  std::uint64_t tokens = 0;
  std::uint64_t logits = 0;  // rows of logits that it returns
};

}  // namespace outrider
