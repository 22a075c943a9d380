#include "outrider/cli/commands/parameters_command.h"

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "outrider/manifest/architecture.h"

namespace outrider {
namespace {

// Experts are numbered where the registry has "{}".
std::string name_text(std::string_view name) {
  std::string out(name);
  if (name.empty() || name == kNoName) return "none";
  if (const std::size_t at = out.find("{}"); at != std::string::npos) out.replace(at, 2, "N");
  return fmt::format("`{}`", out);
}

void print_table(const Architecture& architecture) {
  fmt::print("## `{}`\n\n", architecture.model_type);
  fmt::print("| official name | Hugging Face name | llama.cpp name | blocks | shape | dtype | stored as | group |\n");
  fmt::print("|---|---|---|---|---|---|---|---|\n");
  for (const ParameterSpec& spec : architecture.parameters()) {
    std::string official = name_text(spec.official);
    if (!spec.official_in_mtp.empty())
      official += fmt::format(", below MTP blocks {}", name_text(spec.official_in_mtp));
    std::string llama_cpp = name_text(spec.llama_cpp);
    if (!spec.llama_cpp_in_mtp.empty())
      llama_cpp += fmt::format(", below MTP blocks {}", name_text(spec.llama_cpp_in_mtp));
    std::string shape(spec.dimensions[0].text);
    if (spec.rank() == 2) shape += fmt::format(", {}", spec.dimensions[1].text);
    fmt::print("| {} | {} | {} | {} | `[{}]` | {} | {} | {} |\n", official, name_text(spec.hugging_face), llama_cpp,
               spec.presence.blocks, shape, dtype_name(spec.release_dtype), storage_text(spec.storage),
               module_group_name(spec.group));
  }
}

}  // namespace

void add_parameters_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("parameters", "Print the parameters of each architecture")->group("");
  command->callback([] {
    for (const Architecture* architecture : architectures()) print_table(*architecture);
  });
}

}  // namespace outrider
