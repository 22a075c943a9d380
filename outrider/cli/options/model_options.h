#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "outrider/architectures/deepseek_v4/model.h"
#include "outrider/binding/open_plan.h"

namespace outrider {

// What every command that runs a model can be told of how.
struct ModelArguments {
  std::string mode = "official";
  std::size_t chunk = 512;
  unsigned threads = 0;  // all of the machine's

  ModelOptions options() const;
};

// Adds --mode and --threads, which go to `arguments`.
void add_model_options(CLI::App& command, ModelArguments& arguments);
// Adds --chunk, which goes to `chunk`.
void add_chunk_option(CLI::App& command, std::size_t& chunk);

// What a command that writes text can be told of speculation.
struct SpeculationArguments {
  std::string config;
  bool none = false;

  DrafterLoading drafter() const { return none ? DrafterLoading::kSkip : DrafterLoading::kLoad; }
  // How many tokens to draft; without being told, one where the checkpoint at `path` has an MTP block. Throws Error
  // where it has none and --speculative-config was given, and for what that asks for in vain; `note` is told of what in
  // it changes nothing, a sentence each.
  std::size_t num_speculative_tokens(const CompletePlan& plan, const std::string& path,
                                     const std::function<void(const std::string&)>& note = tell_note) const;
  static void tell_note(const std::string& note);  // on standard error
};

// Adds --speculative-config and --no-speculation, which go to `arguments`.
void add_speculation_options(CLI::App& command, SpeculationArguments& arguments);

// Reads the weights into memory, with a progress bar where that takes long, and makes the model. Weights larger than
// the memory are left on the disk, with a warning. Throws Error as Weights and Model do.
std::unique_ptr<const Model> load_model(std::shared_ptr<const CompletePlan> plan, const ModelOptions& options);

}  // namespace outrider
