#pragma once

namespace outrider {

// Throws Error where standard output cannot be written, or could not be since the last call.
void flush_output();

}  // namespace outrider
