#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace outrider {

// The words of a command line as `program` takes them, of ones as vLLM's users write them:
//   --max_model_len 4k                       underscores for dashes
//   --speculative-config.method mtp          fields of a JSON object, each by itself
//   -sc '{…}', --spec-tokens 2, --model DIR  other names of the same
//   --enable-prefix-caching=True, -tp 8, --tensor-parallel 8
// Flags of vLLM that a command has no option for come as values of its hidden --vllm-flag, where it has that. Values,
// and what no option is known by, stay as they are. Throws Error where a value is missing, or a beginning of a name
// could be several.
std::vector<std::string> command_words(const CLI::App& program, std::vector<std::string> words);

}  // namespace outrider
