#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace outrider {

// Parses a number of tokens as vLLM does: "4096", "4k" = 4,000, "25.6k" = 25,600, "4K" = 4,096, likewise m, g, t and M,
// G, T. Returns nothing for anything else, including decimals with a power of two.
std::optional<std::uint64_t> parse_count(std::string_view text);

// Adds an option for such a number, from `least` to `most`.
CLI::Option* add_count_option(CLI::App& command, const std::string& name, std::size_t& value, std::uint64_t least,
                              std::uint64_t most, const std::string& description);

// Adds --max-model-len, which also accepts "auto" and -1 for the default.
void add_max_model_len_option(CLI::App& command, std::optional<std::uint64_t>& value, const std::string& description);

}  // namespace outrider
