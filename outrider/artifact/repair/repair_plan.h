#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "outrider/artifact/new_artifact.h"
#include "outrider/check/check.h"

namespace outrider {

struct RepairOptions {
  std::optional<std::filesystem::path> reference;  // the checkpoint that the artifact was made of
  std::set<Code> only;                             // empty: whatever is repaired unasked (repaired_unasked())
  bool alias_in_float32 = true;                    // the MTP blocks' own heads; else as head.weight is stored
  bool head_in_float32 = false;                    // head.weight itself, as the repair of vLLM issue 43456 has it
  bool partial = false;                            // put in place what still has errors
  unsigned threads = 2;
};

// Whether repair has a remedy for a finding at all, and whether it applies it without being asked to with `only`.
bool is_repairable(Code code);
bool is_repaired_unasked(Code code);

// One thing that will be done, and the finding that it is done for.
struct RepairAction {
  Code code;
  std::string what;  // a sentence
  std::vector<TensorPattern> tensors;
  std::uint64_t bytes = 0;  // of tensors that this writes
};

// A finding of severity error or warning that will stay, and why.
struct RemainingFinding {
  Code code;
  std::string why;
};

// What a repair will do: pure data; nothing has been written.
struct RepairPlan {
  std::vector<RepairAction> actions;
  std::vector<RemainingFinding> remaining;
  std::map<Code, std::string> withheld;  // why the reference's values were not taken, by finding
  bool partial = false;                  // as in RepairOptions
  NewArtifact artifact;
  SourceStamps sources;  // of all files that it is made of, from before they were read
  // What check says of the artifact as it is, and as it will be; without checkpoint, binding and plan.
  std::shared_ptr<const CheckReport> before;
  std::shared_ptr<const CheckReport> after;

  bool empty() const { return actions.empty(); }
  // Whether errors will stay.
  bool leaves_errors() const;
};

// Throws Error where `directory` is no directory, is no checkpoint, or has no readable config.json.
RepairPlan plan_repair(const std::filesystem::path& directory, const RepairOptions& options);

}  // namespace outrider
