#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace outrider {

// The checkpoint that a path stands for: the path itself, or, for a model in the cache of the Hugging Face hub, its
// snapshot. Throws Error, which says what stands there instead and what to do: no such path, the name of a repository
// on the hub, a URL, weights of another format, an adapter, a directory without weights.
std::filesystem::path checkpoint_path(const std::filesystem::path& given);

// The names of what is in a directory, in order. Throws Error where it cannot be listed.
std::vector<std::string> names_in(const std::filesystem::path& directory);

}  // namespace outrider
