#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>

namespace outrider {

// --max-shard-size, in bytes: of what writes artifacts anew.
void add_max_shard_size_option(CLI::App& command, std::uint64_t& bytes);

}  // namespace outrider
