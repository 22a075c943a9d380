#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/server/log.h"

namespace outrider {

// Flags of `vllm serve` without an equivalent option of `outrider serve`, so that published commands start, or are told
// why they cannot. Equivalent ones are options of their own (serve_command.cc), not listed here.
enum class FlagValue : std::uint8_t { kSwitch, kOne, kSeveral };

struct VllmFlag {
  std::string name;  // "--tensor-parallel-size"
  FlagValue value = FlagValue::kOne;
  bool negated = false;  // --no-NAME
};

// Finds a flag by name: "--tensor-parallel-size", "-tp", "--no-enforce-eager". Nothing if vLLM has no such flag, or
// Outrider has an option for it.
std::optional<VllmFlag> find_vllm_flag(std::string_view name);
// All names, including negated ones ("--no-enforce-eager").
std::vector<std::string> vllm_flag_names();

// The hidden option that carries these flags to the command: --vllm-flag=--tensor-parallel-size=8.
inline constexpr const char* kVllmFlagOption = "--vllm-flag";

// Logs, for each of `given` ("--tensor-parallel-size=8"; a switch's value is "true" or "false"), why it has no effect.
// Throws one Error that lists all refused flags.
void accept_vllm_flags(const std::vector<std::string>& given, const std::string& model, Log& log);

// Renders the table of docs/vllm-flags.md.
std::string vllm_flags_markdown();

}  // namespace outrider
