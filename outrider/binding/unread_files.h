#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "outrider/binding/plan.h"

namespace outrider {

// What only follows from files: those that are not there or cannot be read, and those that the index does not name. It
// is said once, of the file, and not of each parameter.
class UnreadFiles {
 public:
  explicit UnreadFiles(const BindingReport& binding);

  // A tensor of the parameter lies in such a file, and its absence is the fault.
  bool explain(const BindingFault& fault) const;
  // The tensor belongs to a weight in such a file.
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

// The files that the index names and that are not there, in a sentence or two: why, as far as that shows, what they
// hold, and where that is instead. Empty where all are there.
std::string missing_files_text(const Checkpoint& checkpoint, std::uint64_t num_hidden_layers);

// Everything that keeps a checkpoint from being complete, a line each, indented: files first, then faults by patterns
// of names.
std::string incomplete_text(const BindingReport& binding);

}  // namespace outrider
