#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "outrider/hub/remote_address.h"
#include "outrider/hub/settings.h"

namespace outrider {

// The headers of a checkpoint on a server, on this disk.
struct RemoteCheckpoint {
  std::filesystem::path directory;  // for Checkpoint::open_headers_only()
  std::string commit;               // of the Hub's repository; empty for a URL
  std::uint64_t requests = 0;
  std::uint64_t bytes = 0;       // read from the network
  std::uint64_t files_read = 0;  // files of which something was read now; the others were in the cache
  double seconds = 0;
};

// Called with the number of files done, and of all; from several threads, one at a time.
using FilesProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

// Reads config.json, the index, the files beside them that describe generation and quantisation, and the header of each
// safetensors file; of tokenizer.json only whether it exists. All are of one commit; what the cache has of the same
// version is not read again. With settings.offline nothing is read from the network. Throws Error.
RemoteCheckpoint read_remote_checkpoint(const RemoteAddress& address, const HubSettings& settings,
                                        const FilesProgress& progress = {});

}  // namespace outrider
