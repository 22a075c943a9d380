#pragma once

#include <cstdint>

namespace outrider {

// What a forward pass is run over.
struct PassSize {
  std::uint64_t tokens = 0;
  std::uint64_t logits = 0;  // rows of logits that it gives
};

}  // namespace outrider
