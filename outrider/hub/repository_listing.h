#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/hub/downloader.h"
#include "outrider/hub/remote_address.h"

namespace outrider {

// The files of a repository at one commit.
struct RepositoryListing {
  struct File {
    std::string name;                   // within the address's subfolder
    std::optional<std::uint64_t> size;  // bytes
    std::string etag;                   // as the Hub sends it with the file: SHA-256 (LFS) or git's blob id
  };
  std::string commit;
  std::vector<File> files;
};

// Parses the Hub's answer about a revision (/api/models/OWNER/NAME/revision/REVISION?blobs=true). Names that lead out
// of the repository are left out. Throws Error, whose message begins with `where`.
RepositoryListing parse_listing(std::string_view json, const std::string& subfolder, const std::string& where);

// Asks the Hub. Throws Error: no such repository or revision, no access.
RepositoryListing read_listing(Downloader& downloader, const RemoteAddress& address);

}  // namespace outrider
