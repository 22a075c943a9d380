#pragma once

namespace outrider {

// From here on, a mapped file that is cut short, or whose disk fails, while it is read ends the process with a message
// that names the file, and exit status 2, instead of a crash (SIGBUS).
void explain_bus_errors();

}  // namespace outrider
