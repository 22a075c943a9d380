#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace outrider {

// The cache that the client of the Hugging Face hub keeps: hub/models--OWNER--NAME/{refs,blobs,snapshots/COMMIT}, where
// a snapshot is a directory of links to blobs, and refs/main holds the commit that `main` is.

// One of the cache's models: a directory with snapshots beside blobs or refs.
bool is_hub_entry(const std::filesystem::path& directory);
// The snapshot that refs/main names, or the only one. Throws Error, which names the snapshots, where it is not clear.
std::filesystem::path hub_snapshot(const std::filesystem::path& entry);
// The models of the cache itself, in order; empty where `directory` is none.
std::vector<std::filesystem::path> hub_entries(const std::filesystem::path& directory);

// The blobs that a snapshot's links lead to; empty where `directory` is no snapshot.
std::filesystem::path snapshot_blobs(const std::filesystem::path& directory);
// "OWNER/NAME"; empty where `directory` is no snapshot of a model.
std::string snapshot_repository(const std::filesystem::path& directory);

}  // namespace outrider
