#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "outrider/binding/plan.h"
#include "outrider/files/mapped_file.h"

namespace outrider {

// Called while weights are read, with the bytes so far and in all.
using LoadProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

// The bytes of a model's parameters, memory-mapped. Requires a complete plan; there is no other way to load weights.
class Weights {
 public:
  // Maps the files the plan uses. Throws Error when a file cannot be mapped or has another size than when it was
  // checked.
  explicit Weights(std::shared_ptr<const CompletePlan> plan);

  const CompletePlan& plan() const { return *plan_; }
  // The stored bytes of one component (codes, scale, …); empty if the parameter's form has no such component.
  std::span<const std::byte> bytes(ParameterId id, Component component = Component::kWeight) const;

  // Releases the memory of `count` bytes from the component's byte `begin` on; they are read again when needed.
  void drop(ParameterId id, Component component, std::uint64_t begin, std::uint64_t count) const;

  // Of the files that hold them.
  std::uint64_t mapped_bytes() const;
  // Reads everything that is not resident from disk; otherwise it is read on first use. Throws Error if the disk fails.
  void load(const LoadProgress& progress = {}) const;

 private:
  struct InFile {
    const MappedFile* file;
    std::uint64_t begin;
    std::uint64_t bytes;
  };
  std::optional<InFile> in_file(ParameterId id, Component component) const;

  std::shared_ptr<const CompletePlan> plan_;
  std::vector<MappedFile> files_;  // by Checkpoint::files()
};

}  // namespace outrider
