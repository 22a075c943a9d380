#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "outrider/binding/plan.h"

namespace outrider {

// Faults that follow from missing, unreadable or unlisted files, so that they are reported once per file, not per
// parameter.
class UnreadFiles {
 public:
  explicit UnreadFiles(const BindingReport& binding);

  // Whether the fault is the absence of a tensor that is in such a file.
  bool explain(const BindingFault& fault) const;
  // Whether the tensor belongs to a weight in such a file.
  bool explain(TensorId orphan) const;
  bool hold(ParameterId parameter) const { return held_[parameter]; }
  // By position in Checkpoint::files(): how many tensors that the model lacks are in a file that the index does not
  // name.
  std::uint64_t lacking_in(std::uint32_t file) const { return lacking_[file]; }

 private:
  const BindingReport& binding_;
  std::vector<bool> held_;  // by ParameterId
  std::vector<std::uint64_t> lacking_;
};

// What a file that is not there or cannot be read holds by the index: "195 tensors: layers 2-4, mtp.0, head.weight".
// Empty where the index lists nothing in it that is not elsewhere.
std::string held_by_index(const Checkpoint& checkpoint, std::uint32_t file, std::uint64_t num_hidden_layers);

// Describes the missing files of the index in a sentence or two: the reason if known, their contents, and where those
// are instead. Empty if none is missing.
std::string missing_files_text(const Checkpoint& checkpoint, std::uint64_t num_hidden_layers);

// The reasons why a checkpoint is incomplete, one indented line each: files first, then faults by name patterns.
std::string incomplete_text(const BindingReport& binding);

}  // namespace outrider
