#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "outrider/hub/downloader.h"
#include "outrider/hub/url.h"

namespace outrider {

// A file on a server, or the part of it that was read.
struct RemoteFile {
  enum class State { kRead, kAbsent, kUnchanged };
  State state = State::kRead;
  std::string begin;                  // its first bytes
  std::optional<std::uint64_t> size;  // of the whole file
  std::string etag;                   // of the version; empty where the server tells none
  std::string commit;                 // of the repository, from the Hub
};

// `known_etag`: a version that need not be sent again (kUnchanged); empty for none. All throw Error: as
// Downloader::get() does, where access is denied, and where an answer contradicts itself. A 404 is kAbsent.

// Reads a whole file of at most `max_bytes`.
RemoteFile read_remote_file(Downloader& downloader, const Url& url, std::uint64_t max_bytes,
                            const std::string& known_etag);
// Reads the first `bytes` of a file, by a range request; where the server refuses those, the connection is closed after
// them.
RemoteFile read_remote_beginning(Downloader& downloader, const Url& url, std::uint64_t bytes,
                                 const std::string& known_etag);
// Reads the 8 length bytes and the header of a safetensors file. `guess`: how many bytes to ask for at first. What has
// no valid length is read as far as that.
RemoteFile read_remote_header(Downloader& downloader, const Url& url, std::uint64_t guess,
                              const std::string& known_etag);
// Asks only whether there is a file.
RemoteFile find_remote_file(Downloader& downloader, const Url& url);

}  // namespace outrider
