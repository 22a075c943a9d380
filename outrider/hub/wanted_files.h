#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "outrider/checkpoint/index_file.h"
#include "outrider/hub/repository_listing.h"

namespace outrider {

enum class Part { kWhole, kHeader, kBeginning, kExistence };

// What to read of a file on a server.
struct WantedFile {
  std::string name;
  Part part = Part::kWhole;
  std::uint64_t bytes = 0;            // kWhole: the most; kHeader, kBeginning: how many to ask for
  std::optional<std::uint64_t> size;  // by the listing
  std::string etag;                   // by the listing
};

// Of a header whose tensors are not known beforehand.
inline constexpr std::uint64_t kUsualHeader = 256 << 10;

// The files beside the weights that `check` reads, and the indexes.
std::vector<WantedFile> wanted_small_files(const RepositoryListing& listing);
// The same where there is no list: some of these may not exist.
std::vector<WantedFile> wanted_small_files_of_url();

// The safetensors files of the directory and those that the index names below it; without a listing (nullptr), the
// latter. `index` tells how long their headers will be; it may be nullptr.
std::vector<WantedFile> wanted_shards(const RepositoryListing* listing, const IndexFile* index);

}  // namespace outrider
