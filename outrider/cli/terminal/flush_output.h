#pragma once

namespace outrider {

// Flushes standard output. Throws Error if that fails, or if a write has failed since the last call.
void flush_output();

}  // namespace outrider
