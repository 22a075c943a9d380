#include "outrider/cli/options/shard_size_option.h"

#include <string>

namespace outrider {

void add_max_shard_size_option(CLI::App& command, std::uint64_t& bytes) {
  command.add_option("--max-shard-size", bytes, "Maximum file size, e.g. 5GB")
      ->transform(CLI::AsSizeValue(true))
      ->check([](const std::string& text) { return text == "0" ? "must be greater than 0" : ""; })
      ->default_str("5GB");
}

}  // namespace outrider
