#pragma once

#include <string>

#include "outrider/check/check.h"
#include "outrider/hub/remote_checkpoint.h"

namespace outrider {

// Reads config, index and headers of a checkpoint on a server (remote_address.h) and checks them. `offline`: only from
// the cache, as with HF_HUB_OFFLINE. Throws Error, and if the options ask for values.
CheckReport check_remote(const std::string& address, bool offline, CheckOptions options,
                         const FilesProgress& progress = {});

}  // namespace outrider
