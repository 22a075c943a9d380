#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>

namespace outrider {

// Adds --max-shard-size, in bytes, for commands that write artifacts.
void add_max_shard_size_option(CLI::App& command, std::uint64_t& bytes);

}  // namespace outrider
