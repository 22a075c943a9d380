#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "outrider/binding/plan.h"
#include "outrider/binding/resolver.h"
#include "outrider/util/thread_pool.h"

namespace outrider {
namespace {

using FaultKind = BindingFault::Kind;

// Binds the parameters of some blocks of the model. Parameters, and the tensors that claim them, belong to one block,
// so parts of the model are bound side by side; each part goes through all tensors for those of its own.
class Binder {
 public:
  // Binds the blocks [begin, end), by Manifest::block_position. Tensors that no block has are the first part's.
  Binder(BindingReport& out, std::size_t begin, std::size_t end)
      : checkpoint_(*out.checkpoint), manifest_(*out.manifest), out_(out), begin_(begin), end_(end), resolver_(out) {}

  void run() {
    claim_all();
    const auto [first, last] = manifest_.parameters_of(begin_, end_);
    for (ParameterId p = first; p < last; ++p) resolver_.resolve(p);
  }

  // In order of tensors and of parameters.
  std::vector<BindingFault>& claim_faults() { return claim_faults_; }
  Resolver& resolver() { return resolver_; }

 private:
  const TensorInfo& tensor(TensorId t) const { return checkpoint_.tensors()[t]; }
  void use(TensorId t, TensorUse how) { out_.uses[t] = how; }

  bool is_mine(const TensorName& name) const {
    const std::size_t block = manifest_.block_position(name.block).value_or(0);
    return block >= begin_ && block < end_;
  }

  void claim_all() {
    for (TensorId t = 0; t < out_.names.size(); ++t) {
      if (is_mine(out_.names[t])) place(t);
    }
  }

  void place(TensorId t) {
    const TensorInfo& info = tensor(t);
    const TensorName& name = out_.names[t];
    if (!checkpoint_.files()[info.file].used) return use(t, TensorUse::kUnusedStrayFile);
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
      case TensorName::Kind::kKvCacheScale:
        return use(t, TensorUse::kUnusedKvCacheScale);
      case TensorName::Kind::kUnknown:
        return use(t, TensorUse::kUnusedUnknown);
    }
    if (name.part != ExpertPart::kNone) return place_stack(t, name);
    const std::optional<ParameterId> p = manifest_.find(name.block, name.slot, name.expert);
    if (!p) {
      // Vision-Exp routes image tokens by scores in layers that route text by token ids.
      if (name.slot == Slot::kGateBias && checkpoint_.find(std::string(info.name) + "_vl") != nullptr) {
        return use(t, TensorUse::kUnusedVision);
      }
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
      const auto first = static_cast<TensorId>(at);
      const std::string& first_file = checkpoint_.files()[tensor(first).file].name;
      const std::string& second_file = checkpoint_.files()[tensor(t).file].name;
      claim_faults_.push_back({FaultKind::kBoundTwice, p, t,
                               tensor(first).name == tensor(t).name
                                   ? fmt::format("stored twice, in {} and in {}", first_file, second_file)
                                   : fmt::format("stored twice, as {} and as {}", tensor(first).name, tensor(t).name),
                               std::nullopt, false});
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
    if (first && out_.bindings[*first].tensor(name.component)) return claim(t, *first, name.component, name.part);
    const std::vector<Slot> slots = down ? std::vector{Slot::kExpertW2} : std::vector{Slot::kExpertW1, Slot::kExpertW3};
    for (std::uint64_t e = 0; e < manifest_.experts(name.block); ++e) {
      for (const Slot slot : slots) {
        const auto p = manifest_.find(name.block, slot, static_cast<std::int32_t>(e));
        if (p) claim(t, *p, name.component, name.part);
      }
    }
    use(t, TensorUse::kUsed);
  }

  const Checkpoint& checkpoint_;
  const Manifest& manifest_;
  BindingReport& out_;
  std::size_t begin_;
  std::size_t end_;
  Resolver resolver_;
  std::vector<BindingFault> claim_faults_;
};

// Head and embedding of a drafting block: without their own, the model's.
void fall_back(BindingReport& report) {
  for (ParameterId p = 0; p < report.bindings.size(); ++p) {
    Binding& b = report.bindings[p];
    const std::optional<ParameterId>& source = (*report.manifest)[p].falls_back_to;
    if (!source || b.tensor(Component::kWeight) || b.tensor(Component::kWeightPacked)) continue;
    b = report.bindings[*source];
    b.shared = true;
  }
}

BindingReport bind_all(std::shared_ptr<const Checkpoint> checkpoint, std::shared_ptr<const Manifest> manifest,
                       ThreadPool& pool, ParsedNames parsed) {
  BindingReport out;
  out.checkpoint = std::move(checkpoint);
  out.manifest = std::move(manifest);
  out.names_only = out.checkpoint->names_only();
  Binding unbound;
  unbound.tensors.fill(-1);
  out.bindings.assign(out.manifest->parameters().size(), unbound);
  out.uses.assign(out.checkpoint->tensors().size(), TensorUse::kUndecided);
  const std::uint64_t layers = out.manifest->config().num_hidden_layers;
  const bool dspark = out.manifest->drafter() == DrafterKind::kDspark;
  const bool parsed_alike =
      !dspark && parsed.num_hidden_layers == layers && parsed.names.size() == out.checkpoint->tensors().size();
  out.names =
      parsed_alike ? std::move(parsed.names) : parse_tensor_names(out.checkpoint->tensors(), layers, dspark, pool);

  const std::size_t blocks = out.manifest->blocks();
  const std::size_t parts = std::min<std::size_t>(pool.threads(), blocks);
  std::vector<Binder> binders;
  for (std::size_t i = 0; i < parts; ++i) binders.emplace_back(out, blocks * i / parts, blocks * (i + 1) / parts);
  pool.ranges(parts, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) binders[i].run();
  });

  std::vector<BindingFault> claim_faults;
  for (Binder& binder : binders) {
    std::move(binder.claim_faults().begin(), binder.claim_faults().end(), std::back_inserter(claim_faults));
  }
  std::stable_sort(claim_faults.begin(), claim_faults.end(),
                   [](const BindingFault& a, const BindingFault& b) { return *a.tensor < *b.tensor; });
  std::move(claim_faults.begin(), claim_faults.end(), std::back_inserter(out.faults));
  for (Binder& binder : binders) {
    Resolver& resolver = binder.resolver();
    std::move(resolver.faults.begin(), resolver.faults.end(), std::back_inserter(out.faults));
  }
  fall_back(out);
  for (TensorUse& use : out.uses) {
    if (use == TensorUse::kUndecided) use = TensorUse::kUnusedUnknown;
  }
  return out;
}

// The proof, apart from the binding it proves: counts for every parameter and every tensor what covers it.
class Proof {
 public:
  explicit Proof(BindingReport& report)
      : report_(report),
        binding_has_faults_(!report.faults.empty()),
        faulty_(report.bindings.size()),
        claimed_(report.uses.size()) {
    for (const BindingFault& f : report.faults) faulty_[f.parameter] = true;
  }

  // Adds what it refutes to the report's faults.
  void run() {
    for (ParameterId p = 0; p < report_.bindings.size(); ++p) cover(p);
    const bool faults_explain_it = !report_.faults.empty();
    const std::vector<TensorInfo>& tensors = report_.checkpoint->tensors();
    for (TensorId t = 0; t < report_.uses.size(); ++t) {
      if (report_.uses[t] != TensorUse::kUsed) continue;
      const std::uint64_t claimed = claimed_[t];
      if (claimed == tensors[t].bytes()) continue;
      // A parameter with a fault claims nothing, so its tensors go unclaimed.
      if (claimed == 0 && faults_explain_it) continue;
      report_.faults.push_back(
          {BindingFault::Kind::kBoundTwice, 0, t,
           fmt::format("{} has {} bytes but parameters claim {}", report_.stored_name(t), tensors[t].bytes(), claimed),
           std::nullopt, false});
    }
  }

 private:
  void cover(ParameterId p) {
    const Manifest& manifest = *report_.manifest;
    const std::vector<TensorInfo>& tensors = report_.checkpoint->tensors();
    const Binding& b = report_.bindings[p];
    if (!b.bound) {
      // One fault for a stack of experts stands for all its slices, one for a shared tensor for all who share it.
      const bool elsewhere = b.part != ExpertPart::kNone || manifest[p].falls_back_to;
      if (!faulty_[p] && (!elsewhere || !binding_has_faults_)) {
        report_.faults.push_back({BindingFault::Kind::kMissing, p, std::nullopt, "was not bound", std::nullopt, false});
      }
      return;
    }
    if (b.shared) return;
    for (std::size_t c = 0; c < kComponentCount; ++c) {
      if (b.tensors[c] < 0) continue;
      const auto t = static_cast<TensorId>(b.tensors[c]);
      claimed_[t] +=
          b.part == ExpertPart::kNone ? tensors[t].bytes() : report_.slice(p, static_cast<Component>(c)).bytes;
    }
    const Component codes = b.codes();
    const TensorId t = *b.tensor(codes);
    const unsigned code_bits = storage_form(b.form).code_bits;
    const std::uint64_t bits = code_bits != 0 ? code_bits : dtype_bits(tensors[t].dtype);
    const std::uint64_t covered = report_.slice(p, codes).bytes * 8 / bits;
    const std::uint64_t elements = manifest[p].shape.elements();
    // A row of an odd number of nibbles ends in padding.
    if (covered < elements || (covered != elements && bits != 4)) {
      report_.faults.push_back({BindingFault::Kind::kWrongShape, p, t,
                                fmt::format("{} covers {} of {} elements", report_.stored_name(t), covered, elements),
                                std::nullopt, false});
    }
  }

  BindingReport& report_;
  bool binding_has_faults_;
  std::vector<bool> faulty_;            // by parameter
  std::vector<std::uint64_t> claimed_;  // bytes, by tensor
};

}  // namespace

BindResult bind(std::shared_ptr<const Checkpoint> checkpoint, std::shared_ptr<const Manifest> manifest,
                ThreadPool& pool, ParsedNames parsed) {
  BindingReport report = bind_all(std::move(checkpoint), std::move(manifest), pool, std::move(parsed));
  if (report.names_only) return report;
  Proof(report).run();
  if (!report.faults.empty()) return report;
  return CompletePlan(std::move(report));
}

}  // namespace outrider
