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

// Called now and then while weights are read: bytes so far, of how many.
using LoadProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

// The bytes of a model's parameters, mapped from its files. The only way to a parameter's values, and it takes a
// complete plan to get there.
class Weights {
 public:
  // Maps the files the plan uses. Throws Error when a file cannot be mapped or has another size than when it was
  // checked.
  explicit Weights(std::shared_ptr<const CompletePlan> plan);

  const CompletePlan& plan() const { return *plan_; }
  // Stored bytes of one component (codes, scale, …); empty where the parameter's form has no such component.
  std::span<const std::byte> bytes(ParameterId id, Component component = Component::kWeight) const;

  // Gives back the memory of some of them, from the component's byte `begin` on; they are read again where they are
  // needed again.
  void drop(ParameterId id, Component component, std::uint64_t begin, std::uint64_t count) const;

  // Of the files that hold them.
  std::uint64_t mapped_bytes() const;
  // Reads all of them from the disk, as far as they are not in memory yet. Without, they are read where they are first
  // needed. Throws Error where the disk fails.
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
