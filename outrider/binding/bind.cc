#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "outrider/binding/plan.h"
#include "outrider/binding/resolver.h"
#include "outrider/util/parallel.h"

namespace outrider {
namespace {

using FaultKind = BindingFault::Kind;

constexpr unsigned kThreads = 2;

class Binder {
 public:
  Binder(std::shared_ptr<const Checkpoint> checkpoint, std::shared_ptr<const Manifest> manifest)
      : checkpoint_(*checkpoint), manifest_(*manifest) {
    out_.checkpoint = std::move(checkpoint);
    out_.manifest = std::move(manifest);
    out_.names_only = checkpoint_.names_only();
    out_.bindings.resize(manifest_.parameters().size());
    for (Binding& b : out_.bindings) b.tensors.fill(-1);
    out_.uses.assign(checkpoint_.tensors().size(), TensorUse::kUndecided);
    parse_names();
  }

  BindingReport run() {
    for (TensorId t = 0; t < checkpoint_.tensors().size(); ++t) place(t);
    resolve_all();
    for (ParameterId p = 0; p < out_.bindings.size(); ++p) fall_back(p);
    for (TensorUse& use : out_.uses) {
      if (use == TensorUse::kUndecided) use = TensorUse::kUnusedUnknown;
    }
    return std::move(out_);
  }

 private:
  const TensorInfo& tensor(TensorId t) const { return checkpoint_.tensors()[t]; }
  void use(TensorId t, TensorUse how) { out_.uses[t] = how; }

  void bound_twice(ParameterId p, TensorId t, std::string detail) {
    auto& list = manifest_[p].block.kind == BlockKind::kDspark ? out_.drafter_faults : out_.faults;
    list.push_back({FaultKind::kBoundTwice, p, t, std::move(detail), std::nullopt});
  }

  // Parameters are resolved independently of each other, so halves of the list can be done side by side.
  void resolve_all() {
    const std::size_t count = out_.bindings.size();
    const std::size_t middle = count / 2;
    Resolver first(out_);
    Resolver second(out_);
    parallel_ranges(2, kThreads, 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t half = begin; half < end; ++half) {
        Resolver& resolver = half == 0 ? first : second;
        const std::size_t last = half == 0 ? middle : count;
        for (std::size_t p = half == 0 ? 0 : middle; p < last; ++p) resolver.resolve(static_cast<ParameterId>(p));
      }
    });
    for (Resolver* resolver : {&first, &second}) {
      std::move(resolver->faults.begin(), resolver->faults.end(), std::back_inserter(out_.faults));
      std::move(resolver->drafter_faults.begin(), resolver->drafter_faults.end(),
                std::back_inserter(out_.drafter_faults));
    }
  }

  void parse_names() {
    out_.names.resize(checkpoint_.tensors().size());
    parallel_ranges(out_.names.size(), kThreads, 4096, [this](std::size_t begin, std::size_t end) {
      const std::uint64_t layers = manifest_.config().num_hidden_layers;
      const bool dspark = manifest_.drafter() == DrafterKind::kDspark;
      for (std::size_t t = begin; t < end; ++t) {
        out_.names[t] = parse_tensor_name(checkpoint_.tensors()[t].name, layers, dspark);
      }
    });
  }

  void place(TensorId t) {
    const TensorInfo& info = tensor(t);
    const TensorName& name = out_.names[t];
    if (!checkpoint_.files()[info.file].in_index) return use(t, TensorUse::kUnusedStrayFile);
    switch (name.kind) {
      case TensorName::Kind::kParameter:
        break;
      case TensorName::Kind::kVision:
        return use(t, TensorUse::kUnusedVision);
      case TensorName::Kind::kEngram:
        return use(t, TensorUse::kUnusedEngram);
      case TensorName::Kind::kExploded:
        return use(t, TensorUse::kUnusedExploded);
      case TensorName::Kind::kRotaryCache:
        return use(t, TensorUse::kUnusedRotaryCache);
      case TensorName::Kind::kUnknown:
        return use(t, TensorUse::kUnusedUnknown);
    }
    if (name.part != ExpertPart::kNone) return place_stack(t, name);
    const std::optional<ParameterId> p = manifest_.find(name.block, name.slot, name.expert);
    if (!p) {
      const bool drafter = name.block.kind == BlockKind::kMtp && !manifest_.has_block(name.block);
      return use(t, drafter ? TensorUse::kUnusedNoDrafter : TensorUse::kUnusedOutside);
    }
    claim(t, *p, name.component, ExpertPart::kNone);
  }

  void claim(TensorId t, ParameterId p, Component component, ExpertPart part) {
    Binding& b = out_.bindings[p];
    std::int32_t& at = b.tensors[static_cast<std::size_t>(component)];
    if (at >= 0) {
      use(t, TensorUse::kUnusedDuplicate);
      const TensorInfo& first = tensor(static_cast<TensorId>(at));
      const std::string& first_file = checkpoint_.files()[first.file].name;
      const std::string& second_file = checkpoint_.files()[tensor(t).file].name;
      bound_twice(p, t,
                  first.name == tensor(t).name
                      ? fmt::format("stored twice, in {} and in {}", first_file, second_file)
                      : fmt::format("stored twice, as {} and as {}", first.name, tensor(t).name));
      return;
    }
    at = static_cast<std::int32_t>(t);
    b.part = part;
    use(t, TensorUse::kUsed);
  }

  // One tensor that holds all experts of a block. Every expert's parameters get it; its shape is checked per parameter.
  void place_stack(TensorId t, const TensorName& name) {
    if (!manifest_.has_block(name.block)) return use(t, TensorUse::kUnusedOutside);
    const bool down = name.part == ExpertPart::kStackedDown;
    const auto first = manifest_.find(name.block, down ? Slot::kExpertW2 : Slot::kExpertW1, 0);
    const auto component = static_cast<std::size_t>(Component::kWeight);
    if (first && out_.bindings[*first].tensors[component] >= 0) {
      return claim(t, *first, Component::kWeight, name.part);
    }
    const std::vector<Slot> slots = down ? std::vector{Slot::kExpertW2} : std::vector{Slot::kExpertW1, Slot::kExpertW3};
    for (std::uint64_t e = 0; e < manifest_.config().n_routed_experts; ++e) {
      for (const Slot slot : slots) {
        const auto p = manifest_.find(name.block, slot, static_cast<std::int32_t>(e));
        if (p) claim(t, *p, Component::kWeight, name.part);
      }
    }
    use(t, TensorUse::kUsed);
  }

  // Head and embedding of an MTP block: without their own copy, the model's.
  void fall_back(ParameterId p) {
    Binding& b = out_.bindings[p];
    const std::optional<ParameterId>& source = manifest_[p].falls_back_to;
    if (!source || b.tensor(Component::kWeight) || b.tensor(Component::kWeightPacked)) return;
    b = out_.bindings[*source];
    b.shared = true;
  }

  const Checkpoint& checkpoint_;
  const Manifest& manifest_;
  BindingReport out_;
};

// The proof, apart from the binding it proves: counts for every parameter and every tensor what covers it.
void prove(BindingReport& report) {
  const Manifest& manifest = *report.manifest;
  std::vector<std::uint64_t> claimed(report.uses.size());
  std::vector<bool> faulty(report.bindings.size());
  for (const BindingFault& f : report.faults) faulty[f.parameter] = true;
  for (ParameterId p = 0; p < report.bindings.size(); ++p) {
    const Binding& b = report.bindings[p];
    if (manifest[p].block.kind == BlockKind::kDspark) continue;
    if (!b.bound) {
      // One fault for a stack of experts stands for all its slices, one for a shared tensor for all who share it.
      const bool elsewhere = b.part != ExpertPart::kNone || manifest[p].falls_back_to;
      if (!faulty[p] && (!elsewhere || report.faults.empty())) {
        report.faults.push_back({BindingFault::Kind::kMissing, p, std::nullopt, "was not bound", std::nullopt});
      }
      continue;
    }
    if (b.shared) continue;
    for (std::size_t c = 0; c < kComponentCount; ++c) {
      if (b.tensors[c] >= 0)
        claimed[static_cast<std::size_t>(b.tensors[c])] += report.slice(p, static_cast<Component>(c)).bytes;
    }
    const auto codes = b.tensor(Component::kWeight) ? Component::kWeight : Component::kWeightPacked;
    const TensorId t = *b.tensor(codes);
    const std::uint64_t bits =
        b.form == StorageForm::kPlain || b.form == StorageForm::kFp8Block ? dtype_bits(report.tensor(t).dtype) : 4;
    const std::uint64_t covered = report.slice(p, codes).bytes * 8 / bits;
    const std::uint64_t elements = manifest[p].shape.elements();
    // A row of an odd number of nibbles ends in padding.
    if (covered < elements || (covered != elements && bits != 4)) {
      report.faults.push_back({BindingFault::Kind::kWrongShape, p, t,
                               fmt::format("{} covers {} of {} elements", report.tensor(t).name, covered, elements),
                               std::nullopt});
    }
  }
  const bool faults_explain_it = !report.faults.empty();
  for (TensorId t = 0; t < report.uses.size(); ++t) {
    if (report.uses[t] != TensorUse::kUsed || claimed[t] == report.tensor(t).bytes()) continue;
    // A parameter with a fault claims nothing, so its tensors go unclaimed.
    if (claimed[t] == 0 && faults_explain_it) continue;
    report.faults.push_back({BindingFault::Kind::kBoundTwice, 0, t,
                             fmt::format("{} has {} bytes but parameters claim {}", report.tensor(t).name,
                                         report.tensor(t).bytes(), claimed[t]),
                             std::nullopt});
  }
}

// A DSpark drafter is known and checked, but its tensors serve nothing that Outrider runs.
void release_dspark(BindingReport& report) {
  for (TensorId t = 0; t < report.uses.size(); ++t) {
    const TensorName& name = report.names[t];
    const bool dspark = name.kind == TensorName::Kind::kParameter && name.block.kind == BlockKind::kDspark;
    if (dspark && report.uses[t] == TensorUse::kUsed) report.uses[t] = TensorUse::kUnusedDspark;
  }
}

}  // namespace

BindResult bind(std::shared_ptr<const Checkpoint> checkpoint, std::shared_ptr<const Manifest> manifest) {
  BindingReport report = Binder(std::move(checkpoint), std::move(manifest)).run();
  if (report.names_only) return report;
  release_dspark(report);
  prove(report);
  if (!report.faults.empty()) return report;
  return CompletePlan(std::move(report));
}

}  // namespace outrider
