#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/server/log.h"

namespace outrider {

// Flags of `vllm serve` that `outrider serve` has no option for, so that published commands start, or are told why they
// cannot. What Outrider does as vLLM does is an option of its own (serve_command.cc), not listed here.
enum class FlagValue : std::uint8_t { kSwitch, kOne, kSeveral };

struct VllmFlag {
  std::string name;  // "--tensor-parallel-size"
  FlagValue value = FlagValue::kOne;
  bool negated = false;  // --no-NAME
};

// The flag of that name: "--tensor-parallel-size", "-tp", "--no-enforce-eager". Nothing where vLLM has none, or where
// Outrider has an option for it.
std::optional<VllmFlag> find_vllm_flag(std::string_view name);
// All names, "--no-enforce-eager" among them.
std::vector<std::string> vllm_flag_names();

// The hidden option by which find_vllm_flag's names reach the command: --vllm-flag=--tensor-parallel-size=8.
inline constexpr const char* kVllmFlagOption = "--vllm-flag";

// `given`: "--tensor-parallel-size=8", a switch's value "true" or "false". Tells the log of each what it changes here,
// nothing, and why. Throws Error for those that are refused, all of them in one.
void accept_vllm_flags(const std::vector<std::string>& given, const std::string& model, Log& log);

// The table of docs/vllm-flags.md.
std::string vllm_flags_markdown();

}  // namespace outrider
