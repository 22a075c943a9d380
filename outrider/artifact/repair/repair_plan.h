#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "outrider/artifact/new_artifact.h"
#include "outrider/check/check.h"

namespace outrider {

struct RepairOptions {
  std::optional<std::filesystem::path> reference;  // the source of the artifact
  std::set<Code> only;                             // empty: everything that is_repaired_unasked()
  bool alias_in_float32 = true;                    // the MTP blocks' own heads; otherwise stored as head.weight
  bool head_in_float32 = false;                    // head.weight itself, as in the repair of vLLM issue 43456
  bool partial = false;                            // write the result even if it still has errors
  ThreadPool* pool = &calling_thread();
};

// Whether repair can fix a finding at all, and whether it does so without being asked with `only`.
bool is_repairable(Code code);
bool is_repaired_unasked(Code code);
// The findings of these codes or slugs ("OUT050", "mtp-shares-head"). Throws Error for one that does not exist or that
// repair cannot fix.
std::set<Code> repairable_codes(std::span<const std::string> names);

// One action of a repair, and the finding that it fixes.
struct RepairAction {
  Code code;
  std::string what;  // a sentence
  std::vector<TensorPattern> tensors;
  std::uint64_t bytes = 0;  // of the tensors that it writes
};

// A finding of severity error or warning that will remain, and why.
struct RemainingFinding {
  Code code;
  std::string why;
};

// The plan of a repair: pure data; nothing is written yet.
struct RepairPlan {
  std::vector<RepairAction> actions;
  std::vector<RemainingFinding> remaining;
  std::map<Code, std::string> withheld;  // why the reference's values were not used, by finding
  bool partial = false;                  // as in RepairOptions
  NewArtifact artifact;
  SourceStamps sources;  // of all source files, taken before they were read
  // The reports of the current artifact and of the result; without checkpoint, binding and plan.
  std::shared_ptr<const CheckReport> before;
  std::shared_ptr<const CheckReport> after;

  bool empty() const { return actions.empty(); }
  // Whether errors will remain.
  bool leaves_errors() const;
};

// Throws Error if `directory` is not a directory, not a checkpoint, or has no readable config.json.
RepairPlan plan_repair(const std::filesystem::path& directory, const RepairOptions& options);

}  // namespace outrider
