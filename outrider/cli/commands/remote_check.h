#pragma once

#include <string>

#include "outrider/check/check.h"

namespace outrider {

// Reads config, index and headers of a checkpoint on a server (hub/remote_address.h) and checks them. Shows progress.
// Throws Error.
CheckReport check_remote(const std::string& address, bool offline, CheckOptions options);

}  // namespace outrider
