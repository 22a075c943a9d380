#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace outrider {

// Why a file of a checkpoint is not there, in half a sentence: its link leads to nothing, its download is not finished.
// Empty where nothing tells.
std::string why_absent(const std::filesystem::path& file);

// What `hf download` has left of downloads that it did not finish: below .cache/huggingface of a directory that it
// downloads to, among the blobs of a snapshot in the hub's cache. Half a sentence; empty where there are none.
std::string unfinished_downloads(const std::filesystem::path& directory);

// The command that goes on with the download of a directory: with the repository's name where the directory is a
// snapshot in the hub's cache.
std::string download_command(const std::filesystem::path& directory);

}  // namespace outrider
