#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "outrider/architectures/model.h"
#include "outrider/binding/open_plan.h"
#include "outrider/decoding/speculative_config.h"

namespace outrider {

// Options of every command that runs a model.
struct ModelArguments {
  std::string mode = "official";
  std::size_t chunk = 512;
  unsigned threads = 0;  // 0: all of the machine's
  bool no_pinning = false;
  std::string numa = "interleave";

  ModelOptions options() const;
};

// Adds --mode, which sets `mode` to one of kModeNames.
void add_mode_option(CLI::App& command, std::string& mode);
// Adds --mode, --threads, --no-thread-pinning and --numa, which set `arguments`.
void add_model_options(CLI::App& command, ModelArguments& arguments);
// Adds --chunk, which sets `chunk`.
void add_chunk_option(CLI::App& command, std::size_t& chunk);

// Options of speculation, for commands that generate.
struct SpeculationArguments {
  std::string config;
  bool none = false;

  // Whether the drafter of the checkpoint at `path` is loaded. Throws Error as parse_speculative_config does.
  DrafterLoading drafter(const std::string& path) const;
  // How to draft; by default with the checkpoint's own drafter, if it has one, and as many tokens as are fastest.
  // Throws Error if
  // --speculative-config requires a drafter that the checkpoint lacks, or is invalid; calls `note` with a sentence for
  // each of its fields that has no effect.
  SpeculativeConfig speculative_config(const CompletePlan& plan, const std::string& path,
                                       const std::function<void(const std::string&)>& note = tell_note) const;
  static void tell_note(const std::string& note);  // on standard error
};

// Adds --speculative-config and --no-speculation, which set `arguments`.
void add_speculation_options(CLI::App& command, SpeculationArguments& arguments);

// Reads the weights into memory, with a progress bar if that takes long, and creates the model. Weights larger than the
// available memory are left on disk, with a warning. `times` as in ModelOptions. Throws Error as Weights and Model do.
std::unique_ptr<const Model> load_model(std::shared_ptr<const CompletePlan> plan, const ModelArguments& arguments,
                                        OperationTimes* times = nullptr);

}  // namespace outrider
