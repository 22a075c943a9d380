#include "outrider/check/reference_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <map>
#include <mutex>
#include <set>

#include "outrider/check/misplaced_values.h"
#include "outrider/check/parameter_values.h"
#include "outrider/check/stack_text.h"
#include "outrider/check/tensor_data.h"
#include "outrider/check/value_difference.h"

namespace outrider {
namespace {

// Rounding to four bits has a relative error of 10 to 15%, to FP8 3%; unrelated values 140%.
constexpr double kBeyondRounding = 0.5;
// After this many blocks without a match, the values are considered unrelated.
constexpr int kMaxUnmatchedBlocks = 3;

// The error that rounding to our dtype, to nearest or toward zero, can cause.
Tolerance tolerance_of(Dtype own, Dtype reference) {
  if (own == reference) return {};
  if (own == Dtype::kBF16) return {0x1p-7, 0};
  if (own == Dtype::kF16) return {0x1p-10, 0x1p-24};
  return {};
}

bool is_value(Component component) {
  return component != Component::kInputScale && component != Component::kInputGlobalScale &&
         component != Component::kWeightShape;
}

struct Job {
  ParameterId own = 0;
  ParameterId reference = 0;
  std::uint64_t bytes = 0;  // of the reference
  // Results. The tensor reported: the first component that differs.
  std::optional<TensorId> differs;
  ValueDifference difference;
  bool measured = false;       // in values; otherwise `difference` has only the number of different codes
  std::uint64_t rows_off = 0;  // of parameters in other forms: rows that rounding does not explain
  std::uint64_t first_row = 0;
  std::optional<Misplaced> misplaced;
};

class Comparison {
 public:
  Comparison(CheckContext& context, const BindingReport& reference)
      : context_(context),
        ours_(context.binding()),
        theirs_(reference),
        our_data_(context.checkpoint()),
        their_data_(*reference.checkpoint) {}

  void add(ParameterId own, ParameterId reference) {
    Job job;
    job.own = own;
    job.reference = reference;
    const Binding& b = theirs_.bindings[reference];
    for (std::size_t c = 0; c < kComponentCount; ++c) {
      if (b.tensors[c] >= 0) job.bytes += theirs_.slice(reference, static_cast<Component>(c)).bytes;
    }
    total_ += job.bytes;
    jobs_.push_back(job);
  }

  void run() {
    run_threads([this](Job& job) { compare(job); });
    find_misplaced();
    report();
  }

 private:
  void run_threads(const std::function<void(Job&)>& work) {
    ThreadPool& pool = *context_.options.pool;
    pool.ranges(pool.threads(), 1, [&](std::size_t, std::size_t) {
      for (std::size_t at = next_++; at < jobs_.size(); at = next_++) {
        work(jobs_[at]);
        const std::lock_guard lock(progress_);
        done_ += jobs_[at].bytes;
        if (context_.options.progress) context_.options.progress(done_, total_);
      }
    });
  }

  // The same form, quantised with the same kind of scales: then equal values are equal bytes.
  bool stored_alike(const Job& job) const {
    const Binding& a = ours_.bindings[job.own];
    const Binding& b = theirs_.bindings[job.reference];
    if (a.form != b.form || a.group_size != b.group_size) return false;
    if (a.form == StorageForm::kPlain) return true;
    for (std::size_t c = 0; c < kComponentCount; ++c) {
      if ((a.tensors[c] < 0) != (b.tensors[c] < 0)) return false;
      if (a.tensors[c] < 0) continue;
      if (ours_.tensor(static_cast<TensorId>(a.tensors[c])).dtype !=
          theirs_.tensor(static_cast<TensorId>(b.tensors[c])).dtype)
        return false;
    }
    return true;
  }

  void compare(Job& job) const {
    const Binding& a = ours_.bindings[job.own];
    const Binding& b = theirs_.bindings[job.reference];
    const bool same_form = stored_alike(job);
    Tolerance tolerance;
    if (same_form) {
      bool same_dtype = true;
      std::optional<Component> differs;
      std::optional<Component> beside;  // companions that are not part of the values: scales of activations
      for (std::size_t c = 0; c < kComponentCount; ++c) {
        if (a.tensors[c] < 0 || b.tensors[c] < 0) continue;
        const auto component = static_cast<Component>(c);
        const Dtype mine = ours_.tensor(static_cast<TensorId>(a.tensors[c])).dtype;
        const Dtype source = theirs_.tensor(static_cast<TensorId>(b.tensors[c])).dtype;
        if (mine != source) {
          same_dtype = false;
          tolerance = tolerance_of(mine, source);
        } else if (count_different(job, component, true) != 0) {
          std::optional<Component>& first = is_value(component) ? differs : beside;
          if (!first) first = component;
        }
      }
      if (!differs && same_dtype) {
        if (beside) count(job, *beside);
        return;
      }
      if (differs) job.differs = *a.tensor(*differs);
    }
    const auto own = ParameterValues::of(ours_, our_data_, job.own);
    const auto reference = ParameterValues::of(theirs_, their_data_, job.reference);
    if (!own || !reference || own->elements() != reference->elements()) {
      if (job.differs) count(job, ours_.names[*job.differs].component);
      return;
    }
    job.measured = true;
    bool differs = false;
    if (same_form) {
      job.difference = compare_values(*own, *reference, tolerance);
      differs = job.difference.different != 0;
    } else {
      const RowsDifference rows = compare_rows(*own, *reference, kBeyondRounding);
      job.difference = rows.all;
      job.rows_off = rows.off;
      job.first_row = rows.first;
      differs = rows.all.not_finite != 0 || rows.off != 0 || rows.all.relative() > kBeyondRounding;
    }
    if (!differs) {
      job.differs.reset();
    } else if (!job.differs) {
      job.differs = *a.tensor(a.codes());
    }
  }

  void count(Job& job, Component component) const {
    job.differs = *ours_.bindings[job.own].tensor(component);
    job.difference.different = count_different(job, component, false);
    job.difference.elements = ours_.slice(job.own, component).bytes * 8 / dtype_bits(ours_.tensor(*job.differs).dtype);
  }

  // The number of elements of one component whose bytes differ; with `any`, 1 at most.
  std::uint64_t count_different(const Job& job, Component component, bool any) const {
    const TensorSlice mine = ours_.slice(job.own, component);
    const TensorSlice source = theirs_.slice(job.reference, component);
    const TensorInfo& a = ours_.tensor(mine.tensor);
    const TensorInfo& b = theirs_.tensor(source.tensor);
    if (!our_data_.readable(a) || !their_data_.readable(b) || mine.bytes != source.bytes) return 0;
    return count_different_bytes({our_data_, a, mine.begin, mine.bytes}, {their_data_, b, source.begin, source.bytes},
                                 std::max(1U, dtype_bits(a.dtype) / 8), any);
  }

  // Values that differ by more than training or rounding explains may be misplaced.
  void find_misplaced() {
    const MisplacedFinder finder(ours_, our_data_, theirs_, their_data_, *context_.options.pool);
    std::map<std::size_t, std::vector<std::size_t>> by_block;  // jobs
    for (std::size_t j = 0; j < jobs_.size(); ++j) {
      const Job& job = jobs_[j];
      const Parameter& parameter = (*theirs_.manifest)[job.reference];
      if (!job.differs || !job.measured || parameter.shape.rank != 2) continue;
      if (job.difference.relative() < kBeyondRounding) continue;
      by_block[*theirs_.manifest->block_position(parameter.block)].push_back(j);
    }
    int in_vain = 0;
    for (const auto& [block, members] : by_block) {
      if (in_vain == kMaxUnmatchedBlocks) break;
      std::vector<MisplacedFinder::Pair> pairs;
      for (const std::size_t j : members) pairs.push_back({jobs_[j].own, jobs_[j].reference, &jobs_[j].difference});
      const auto found = finder.find(pairs);
      const bool any = std::ranges::any_of(found, [](const auto& f) { return f.has_value(); });
      in_vain = any ? 0 : in_vain + 1;
      for (std::size_t i = 0; i < members.size(); ++i) jobs_[members[i]].misplaced = found[i];
    }
  }

  // Differences of one stored tensor, or of a stack's experts, of one kind.
  struct Group {
    std::vector<const Job*> jobs;
    ValueDifference difference;
    bool measured = true;
  };

  std::string name_of(const Group& group) const { return ours_.stored_name(*group.jobs[0]->differs); }

  // " in all 8 experts", of a stack.
  std::string where(const Group& group) const {
    std::vector<StackPart> parts;
    for (const Job* job : group.jobs) {
      const Parameter& p = (*ours_.manifest)[job->own];
      if (ours_.bindings[job->own].part != ExpertPart::kNone) parts.push_back({p.expert, p.slot});
    }
    return parts.empty() ? "" : fmt::format(" in {}", parts_text(parts, ours_.tensor(*group.jobs[0]->differs)));
  }

  std::string sizes(const Group& group) const {
    const Job& job = *group.jobs[0];
    const std::string rows = job.rows_off == 0 ? ""
                                               : fmt::format(", more than rounding explains in {} from row {} on",
                                                             count_text(job.rows_off, "row"), job.first_row);
    return group.measured ? group.difference.text() + rows
                          : fmt::format("in {} of {} values", grouped(group.difference.different),
                                        grouped(group.difference.elements));
  }

  void report() {
    // By kind of displacement, then by tensor.
    std::map<std::optional<Misplaced::Kind>, std::vector<Group>> by_kind;
    for (const Job& job : jobs_) {
      if (!job.differs) continue;
      auto& groups = by_kind[job.misplaced ? std::optional(job.misplaced->kind) : std::nullopt];
      const auto known = std::find_if(groups.rbegin(), groups.rend(), [&](const Group& g) {
        const Job& first = *g.jobs[0];
        return first.differs == job.differs && (!job.misplaced || first.misplaced->by == job.misplaced->by);
      });
      // Stacks come expert by expert, with w1 and w3 alternating with w2.
      const bool found = known != groups.rend() && known - groups.rbegin() < 8;
      Group& group = found ? *known : groups.emplace_back();
      group.jobs.push_back(&job);
      group.difference.add(job.difference);
      group.measured = group.measured && job.measured;
    }
    for (const auto& [kind, groups] : by_kind) {
      std::vector<std::string> names;
      for (const Group& g : groups) names.push_back(ours_.stored_name(*g.jobs[0]->differs));
      kind ? tell_misplaced(*kind, groups, names) : tell_changed(groups, names);
    }
  }

  void tell_changed(const std::vector<Group>& groups, const std::vector<std::string>& names) {
    const auto relative = [](const Group& g) { return g.measured ? g.difference.relative() : 0.0; };
    const auto [least, most] = std::minmax_element(
        groups.begin(), groups.end(), [&](const Group& a, const Group& b) { return relative(a) < relative(b); });
    const std::string parts = where(*most);
    std::string message = fmt::format("{} differs from the reference{}{} {}", name_of(*most), parts,
                                      parts.empty() ? "" : ",", sizes(*most));
    if (groups.size() > 1) {
      message += fmt::format("; and {} more, with relative errors from {}", grouped(groups.size() - 1),
                             percent_text(relative(*least)));
    }
    context_.add(Code::kReferenceValues, std::move(message), names);
  }

  void tell_misplaced(Misplaced::Kind kind, const std::vector<Group>& groups, const std::vector<std::string>& names) {
    using Kind = Misplaced::Kind;
    const Group& first = groups[0];
    const Misplaced& place = *first.jobs[0]->misplaced;
    const auto from = [&](const Job& job) -> const Parameter& { return (*theirs_.manifest)[job.misplaced->from]; };
    const bool stacked = ours_.bindings[first.jobs[0]->own].part != ExpertPart::kNone;
    const std::string parts = where(first);
    std::string what;
    std::string remedy;
    switch (kind) {
      case Kind::kTransposed:
        what = fmt::format("is transposed{}: it has the reference's values with rows and columns swapped", parts);
        remedy = stacked ? "Swap the last two dimensions (transpose(1, 2).contiguous()) and save again."
                         : "Transpose it and save again.";
        break;
      case Kind::kGateUpSwapped:
        what =
            fmt::format("has gate and up swapped{}: up's values (w3) are in gate's place (w1), and vice versa", parts);
        remedy = stacked ? "Save gate_up_proj with gate's rows first, then up's." : "Swap the two and save again.";
        break;
      case Kind::kInterleaved:
      case Kind::kUpInterleaved:
        what = fmt::format(
            "has gate's and up's rows interleaved{}, {} at a time{}, not gate's (w1) first and then up's (w3)", parts,
            place.by, kind == Kind::kUpInterleaved ? ", up's first" : "");
        remedy = "Save gate's rows first, then up's.";
        break;
      case Kind::kOtherParameter: {
        std::vector<std::string> pairs;
        std::set<std::string> seen;
        for (const Group& group : groups) {
          for (const Job* job : group.jobs) {
            const Parameter& own = (*ours_.manifest)[job->own];
            const Parameter& source = from(*job);
            std::string pair = own.expert >= 0 && own.slot == source.slot
                                   ? fmt::format("expert {} of {} has the values of expert {}", own.expert,
                                                 block_name(own.block), source.expert)
                                   : fmt::format("{} has the values of {}", own.name(), source.name());
            if (seen.insert(pair).second) pairs.push_back(std::move(pair));
          }
        }
        constexpr std::size_t kShown = 4;
        const std::size_t shown = std::min(kShown, pairs.size());
        what = fmt::format("has the reference's values of another parameter: {}{}",
                           fmt::join(pairs.begin(), pairs.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                           shown == pairs.size() ? "" : fmt::format(" and {} more", grouped(pairs.size() - shown)));
        remedy = from(*first.jobs[0]).expert >= 0
                     ? "Reorder the experts as in the reference. (If the router's rows, its bias and the hash table "
                       "were reordered alike, the model computes the same.) Or: take them from the source."
                     : "Swap the names, or take the tensors from the source.";
        break;
      }
      case Kind::kShifted:
        what = fmt::format("has its rows shifted{}: row r holds the reference's row r {} {}", parts,
                           place.by < 0 ? '-' : '+', std::abs(place.by));
        remedy = "The bytes were sliced at the wrong offset: take the tensor from the source.";
        break;
      case Kind::kScaled:
        what = fmt::format("is the reference multiplied by {:.4g}{}", place.factor, parts);
        remedy = "A scale was omitted or applied twice: convert again, or take the tensor from the source.";
        break;
    }
    std::string message = fmt::format("{} {}; it differs {}", name_of(first), what, sizes(first));
    if (groups.size() > 1) message += fmt::format("; and {} more alike", grouped(groups.size() - 1));
    context_.add(Code::kReferenceValues, std::move(message), names, std::move(remedy));
  }

  CheckContext& context_;
  const BindingReport& ours_;
  const BindingReport& theirs_;
  TensorData our_data_;
  TensorData their_data_;
  std::vector<Job> jobs_;
  std::atomic<std::size_t> next_ = 0;
  std::mutex progress_;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace

void compare_values_with(CheckContext& context, const BindingReport& reference,
                         std::span<const std::pair<ParameterId, ParameterId>> ours_and_theirs) {
  Comparison comparison(context, reference);
  for (const auto& [ours, theirs] : ours_and_theirs) comparison.add(ours, theirs);
  comparison.run();
}

}  // namespace outrider
