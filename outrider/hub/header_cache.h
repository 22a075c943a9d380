#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "outrider/hub/cache_record.h"
#include "outrider/hub/remote_address.h"

namespace outrider {

// The snapshots of one remote checkpoint: directories in which config and index are whole, and of the safetensors files
// only the headers, in sparse files of the whole size. They lie in CACHE/headers-only, in the layout of the Hugging
// Face cache; nothing in a snapshot changes, and snapshots are not removed. One process at a time has an object of an
// address; others wait.
class HeaderCache {
 public:
  // Creates the directory and takes the lock. Throws Error.
  HeaderCache(const std::filesystem::path& cache, const RemoteAddress& address, const Url& endpoint);
  ~HeaderCache();
  HeaderCache(const HeaderCache&) = delete;
  HeaderCache& operator=(const HeaderCache&) = delete;

  // The identifier of the snapshot that a revision was last; empty where it was never read.
  std::string snapshot_of(const std::string& revision) const;
  // The directory of a snapshot; nothing where it is not complete.
  std::optional<std::filesystem::path> find(const std::string& snapshot) const;
  CachedFiles files_of(const std::string& snapshot) const;

  // Starts a new snapshot: an empty directory.
  void start();
  // Gives the new snapshot a file of another one; false where that does not work.
  bool reuse(const std::string& snapshot, const std::string& name);
  // Takes a file away again.
  void discard(const std::string& name);
  std::filesystem::path new_file(const std::string& name) const { return entry_ / "unfinished" / name; }
  // Writes a file of the new snapshot, of which `begin` are the first bytes and zeros the rest up to `size`. From
  // several threads, for different names.
  CachedFile write(const std::string& name, std::string_view begin, std::uint64_t size, const std::string& etag);
  // Completes the new snapshot and records what `revision` is. Returns its directory.
  std::filesystem::path finish(const std::string& snapshot, const CachedFiles& files, const std::string& revision);
  void record(const std::string& revision, const std::string& snapshot);

 private:
  std::filesystem::path entry_;
  int lock_ = -1;
};

// SHA-256, hexadecimal.
std::string sha256(std::string_view bytes);

}  // namespace outrider
