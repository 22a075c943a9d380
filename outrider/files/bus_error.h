#pragma once

namespace outrider {

// Installs a handler: from here on, if a mapped file is truncated or its disk fails while it is read, the process ends
// with a message that names the file, and exit status 2, instead of a crash (SIGBUS).
void explain_bus_errors();

}  // namespace outrider
