#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>

#include "outrider/check/context.h"
#include "outrider/check/parameter_values.h"
#include "outrider/check/stack_text.h"
#include "outrider/check/tensor_data.h"
#include "outrider/check/value_difference.h"
#include "outrider/check/value_scan.h"

namespace outrider {
namespace {

struct Found {
  std::vector<std::string> names;  // of tensors
  std::string first;
  std::size_t count = 0;  // number of tensors and of experts' parts of a stack
};

// A unit of scanning: a tensor, or one expert's part of a stack.
struct Item {
  TensorId tensor = 0;
  std::uint64_t begin = 0;  // offset in the tensor
  std::uint64_t bytes = 0;
  std::optional<StackPart> part;
};

// Bytes of an expert's codes to compare first; experts that agree in them are compared completely.
constexpr std::uint64_t kComparedPrefixBytes = 4096;
std::uint64_t hash_of(std::span<const std::byte> bytes) {
  return std::hash<std::string_view>{}({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

bool is_scale(Component c) {
  return is_scale_spelling(c) || c == Component::kWeightGlobalScale || c == Component::kWeightScale2;
}

class Scan {
 public:
  explicit Scan(CheckContext& context) : context_(context), data_(context.checkpoint()) {}

  void run() {
    const auto start = std::chrono::steady_clock::now();
    const auto& tensors = context_.checkpoint().tensors();
    for (TensorId t = 0; t < tensors.size(); ++t) {
      if (!data_.readable(tensors[t]) || !(context_.options.data || of_drafter(t))) continue;
      add_items(t);
      total_ += tensors[t].bytes();
    }
    // In file order, so that the disk reads sequentially.
    std::sort(items_.begin(), items_.end(), [&](const Item& a, const Item& b) {
      return std::tuple(tensors[a.tensor].file, tensors[a.tensor].begin, a.begin) <
             std::tuple(tensors[b.tensor].file, tensors[b.tensor].begin, b.begin);
    });
    stats_.resize(items_.size());
    out_of_range_.resize(items_.size());
    prefixes_.resize(items_.size());
    ThreadPool& pool = *context_.options.pool;
    pool.ranges(pool.threads(), 1, [this](std::size_t, std::size_t) { work(); });
    report();
    find_identical_experts();
    compare_own_heads();
    check_initial_values();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    context_.report.scan = ScanSummary{done_, seconds.count()};
  }

 private:
  // Each expert of a stack is scanned by itself.
  void add_items(TensorId t) {
    const TensorInfo& tensor = context_.checkpoint().tensors()[t];
    const TensorName& name = context_.binding().names[t];
    const bool stack = name.kind == TensorName::Kind::kParameter && name.part != ExpertPart::kNone &&
                       tensor.shape.size() == 3 && tensor.shape[0] != 0 && tensor.bytes() % tensor.shape[0] == 0;
    if (!stack) {
      items_.push_back({t, 0, tensor.bytes(), std::nullopt});
      return;
    }
    const bool down = name.part == ExpertPart::kStackedDown;
    const std::uint64_t each = tensor.bytes() / tensor.shape[0];
    // Halves are gate and up if the shape is right; unbound tensors are scanned expert by expert.
    const auto first = context_.binding().manifest->find(name.block, Slot::kExpertW1, 0);
    const bool halves = !down && first && context_.binding().bindings[*first].bound;
    for (std::uint64_t e = 0; e < tensor.shape[0]; ++e) {
      const auto expert = static_cast<std::int32_t>(e);
      if (halves) {
        items_.push_back({t, e * each, each / 2, StackPart{expert, Slot::kExpertW1}});
        items_.push_back({t, e * each + each / 2, each - each / 2, StackPart{expert, Slot::kExpertW3}});
      } else {
        items_.push_back({t, e * each, each, StackPart{expert, Slot::kExpertW2}});
      }
    }
  }

  void work() {
    while (true) {
      const std::size_t at = next_++;
      if (at >= items_.size()) return;
      const Item& item = items_[at];
      const TensorInfo& tensor = context_.checkpoint().tensors()[item.tensor];
      const TensorName& name = context_.binding().names[item.tensor];
      const bool parameter = name.kind == TensorName::Kind::kParameter;
      const bool int4 = parameter && name.component == Component::kWeightPacked;
      const bool table = parameter && name.slot == Slot::kGateTid2Eid;
      // U8 scales hold E8M0 exponents, not pairs of FP4 codes.
      const bool exponents = parameter && is_scale(name.component) && tensor.dtype == Dtype::kU8;
      const Dtype dtype = exponents ? Dtype::kF8E8M0 : tensor.dtype;
      bool first = true;
      data_.read(tensor, item.begin, item.bytes, [&](std::span<const std::byte> bytes) {
        if (first) prefixes_[at] = hash_of(bytes.first(std::min<std::size_t>(bytes.size(), kComparedPrefixBytes)));
        first = false;
        stats_[at].add(scan_values(dtype, bytes, int4));
        if (table && (tensor.dtype == Dtype::kI64 || tensor.dtype == Dtype::kI32)) {
          out_of_range_[at] += count_out_of_range(
              tensor.dtype, bytes, static_cast<std::int64_t>(context_.reading().config.n_routed_experts));
        }
        const std::uint64_t done = done_ += bytes.size();
        if (context_.options.progress) {
          const std::lock_guard lock(progress_);
          context_.options.progress(done, total_);
        }
      });
    }
  }

  bool of_drafter(TensorId t) const {
    const TensorName& name = context_.binding().names[t];
    return name.kind == TensorName::Kind::kParameter && is_drafter(name.block);
  }

  std::string stored_name(TensorId t) const { return context_.checkpoint().name(t); }

  // The name in findings: "layers.0.attn.wq_a.weight", "model.layers.3.mlp.experts.down_proj, expert 5".
  std::string name_of(const Item& item) const {
    const std::string name = stored_name(item.tensor);
    if (!item.part) return name;
    return fmt::format("{}, {}", name, parts_text({&*item.part, 1}, context_.checkpoint().tensors()[item.tensor]));
  }

  void found(Code code, const Item& item, std::string message) {
    Found& f = found_[code];
    if (f.count++ == 0) f.first = std::move(message);
    std::string name = stored_name(item.tensor);
    if (f.names.empty() || f.names.back() != name) f.names.push_back(std::move(name));
  }

  void report() {
    for (std::size_t i = 0; i < items_.size(); ++i) {
      const Item& item = items_[i];
      const TensorName& name = context_.binding().names[item.tensor];
      const ValueStats& s = stats_[i];
      if (s.elements == 0 || name.kind != TensorName::Kind::kParameter) continue;
      if (is_scale(name.component)) {
        report_scale(item, s);
        continue;
      }
      if (s.nan + s.infinite != 0) {
        found(Code::kNotANumber, item,
              fmt::format("{} has {} NaN and {} infinite of {} values", name_of(item), grouped(s.nan),
                          grouped(s.infinite), grouped(s.elements)));
      }
      const Storage storage = context_.binding().manifest->spec(name.slot).storage;
      const bool may_be_zero = storage == Storage::kFloat32 || storage == Storage::kInteger;
      const bool codes = name.component == Component::kWeight || name.component == Component::kWeightPacked;
      if (s.nonzero == 0 && codes && !may_be_zero) {
        found(Code::kAllZero, item, fmt::format("{}: all {} values are zero", name_of(item), grouped(s.elements)));
      }
      if (out_of_range_[i] != 0) {
        found(Code::kHashTableRange, item,
              fmt::format("{}: {} entries are out of range (n_routed_experts {})", name_of(item),
                          grouped(out_of_range_[i]), context_.reading().config.n_routed_experts));
      }
    }
    for (const auto& [code, f] : found_) {
      context_.add(code, f.first + (f.count == 1 ? "" : fmt::format("; and {} more", grouped(f.count - 1))), f.names);
    }
  }

  void report_scale(const Item& item, const ValueStats& s) {
    const Dtype dtype = context_.checkpoint().tensors()[item.tensor].dtype;
    const bool exponent = dtype == Dtype::kF8E8M0 || dtype == Dtype::kU8;
    if (s.nonzero == 0) {
      found(Code::kScalesCast, item, fmt::format("{}: all {} scales have code 0", name_of(item), grouped(s.elements)));
    } else if (exponent && s.all_ones) {
      found(Code::kScalesCast, item,
            fmt::format("{}: all {} scales have code 0xFF, which is NaN", name_of(item), grouped(s.elements)));
    } else if (s.nan + s.infinite + s.negative != 0 || (!exponent && s.nonzero != s.elements)) {
      found(Code::kBadScale, item,
            fmt::format("{}: of {} scales {} are NaN or infinite, {} zero, {} negative", name_of(item),
                        grouped(s.elements), grouped(s.nan + s.infinite),
                        grouped(exponent ? 0 : s.elements - s.nonzero), grouped(s.negative)));
    }
  }

  bool same_bytes(const Item& a, const Item& b) const {
    const std::vector<TensorInfo>& tensors = context_.checkpoint().tensors();
    return a.bytes == b.bytes && count_different_bytes({data_, tensors[a.tensor], a.begin, a.bytes},
                                                       {data_, tensors[b.tensor], b.begin, b.bytes}, 1, true) == 0;
  }

  // Finds experts of one block with byte-identical codes.
  void find_identical_experts() {
    struct Key {
      std::size_t block;
      Slot slot;
      std::uint64_t glance;
      auto operator<=>(const Key&) const = default;
    };
    const Manifest& manifest = *context_.binding().manifest;
    std::map<Key, std::vector<std::size_t>> alike;  // items
    for (std::size_t i = 0; i < items_.size(); ++i) {
      const TensorName& name = context_.binding().names[items_[i].tensor];
      const bool codes = name.kind == TensorName::Kind::kParameter && is_expert(name.slot) &&
                         (name.component == Component::kWeight || name.component == Component::kWeightPacked);
      const auto block = manifest.block_position(name.block);
      if (!codes || !block || stats_[i].nonzero == 0) continue;
      const Slot slot = items_[i].part ? items_[i].part->slot : name.slot;
      if (slot == Slot::kExpertW2 && name.slot != slot) continue;  // a stack of another shape: whole experts
      alike[{*block, slot, prefixes_[i]}].push_back(i);
    }
    const auto expert = [&](std::size_t i) {
      return items_[i].part ? items_[i].part->expert : context_.binding().names[items_[i].tensor].expert;
    };
    // By block and experts: the slots they share.
    std::map<std::pair<std::size_t, std::vector<std::int32_t>>, std::vector<std::size_t>> identical;
    for (auto& [key, members] : alike) {
      while (members.size() > 1) {
        std::vector<std::size_t> same = {members[0]};
        std::erase_if(members, [&](std::size_t i) {
          if (i == same[0]) return true;
          if (!same_bytes(items_[same[0]], items_[i])) return false;
          same.push_back(i);
          return true;
        });
        if (same.size() < 2) continue;
        std::vector<std::int32_t> experts;
        for (const std::size_t i : same) experts.push_back(expert(i));
        std::ranges::sort(experts);
        auto& items = identical[{key.block, std::move(experts)}];
        items.insert(items.end(), same.begin(), same.end());
      }
    }
    if (identical.empty()) return;
    std::vector<std::string> names;
    std::string message;
    for (const auto& [which, items] : identical) {
      std::set<Slot> slots;
      for (const std::size_t i : items) {
        std::string name = stored_name(items_[i].tensor);
        if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
        slots.insert(items_[i].part ? items_[i].part->slot : context_.binding().names[items_[i].tensor].slot);
      }
      if (!message.empty()) continue;
      std::vector<std::string_view> parts;
      for (const Slot slot : slots) {
        parts.push_back(slot == Slot::kExpertW1 ? "gate (w1)" : slot == Slot::kExpertW2 ? "down (w2)" : "up (w3)");
      }
      message =
          fmt::format("experts {} of {} have byte-identical {}", numbers_text(which.second),
                      block_name(context_.binding().names[items_[items[0]].tensor].block), fmt::join(parts, ", "));
    }
    if (identical.size() > 1) message += fmt::format("; and {} more", count_text(identical.size() - 1, "such group"));
    context_.add(Code::kIdenticalExperts, std::move(message), names);
  }

  // Compares a drafting block's own head and embedding with the model's. An MTP block of the release has none, or
  // copies; different ones were trained on purpose, or are damaged. A DSpark drafter may legitimately have its own.
  void compare_own_heads() {
    const BindingReport& binding = context_.binding();
    std::vector<std::string> differ;
    std::vector<std::string> initial;
    std::string message;
    std::string initial_message;
    const bool dspark = binding.manifest->drafter() == DrafterKind::kDspark;
    for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
      const Parameter& parameter = (*binding.manifest)[p];
      if (!parameter.falls_back_to || binding.bindings[p].shared) continue;
      const auto own = ParameterValues::of(binding, data_, p);
      const auto shared = ParameterValues::of(binding, data_, *parameter.falls_back_to);
      if (!own || !shared || own->elements() != shared->elements()) continue;
      // A copy in another precision is still a copy.
      const Binding& a = binding.bindings[p];
      const Binding& b = binding.bindings[*parameter.falls_back_to];
      const bool plain = a.form == StorageForm::kPlain && b.form == StorageForm::kPlain;
      const bool cast = plain && binding.tensor(*a.tensor(Component::kWeight)).dtype !=
                                     binding.tensor(*b.tensor(Component::kWeight)).dtype;
      const ValueDifference difference = compare_values(*own, *shared, cast ? Tolerance{0x1p-7, 0x1p-24} : Tolerance{});
      if (difference.different == 0) continue;
      const std::string name = weight_name(p);
      differ.push_back(name);
      message += fmt::format("{}{} differs from {} {}", message.empty() ? "" : "; ", name,
                             weight_name(*parameter.falls_back_to), difference.text());
      if (std::abs(difference.cosine()) < 0.05 && looks_initial(*own)) {
        initial.push_back(name);
        initial_message += fmt::format("{}{}", initial_message.empty() ? "" : ", ", name);
      }
    }
    if (!differ.empty()) {
      context_.add(dspark ? Code::kDrafterOwnHead : Code::kAliasDiffers, std::move(message), differ);
    }
    if (!initial.empty()) {
      context_.add(
          Code::kMtpInitialValues,
          fmt::format(
              "{}: values are spread evenly over all rows, as at initialisation, and have nothing in common with the "
              "model's",
              initial_message),
          initial);
    }
  }

  std::string weight_name(ParameterId p) const {
    const Binding& b = context_.binding().bindings[p];
    return stored_name(*b.tensor(b.codes()));
  }

  // Whether values are drawn from one distribution in all rows. Training makes the rows of frequent and rare tokens
  // very different in size; for independent values, row norms are spread by sqrt((kurtosis - 1) / 4 columns).
  static bool looks_initial(const ParameterValues& values) {
    std::vector<double> rows(values.rows());
    double sum = 0;
    double squares = 0;
    double fourths = 0;
    values.for_each_piece([&](std::uint64_t at, std::span<const float> piece) {
      for (std::size_t i = 0; i < piece.size(); ++i) {
        const double v = piece[i];
        const double square = v * v;
        sum += v;
        squares += square;
        fourths += square * square;
        rows[(at + i) / values.cols()] += square;
      }
    });
    const auto n = static_cast<double>(values.elements());
    if (!std::isfinite(fourths) || squares == 0) return false;
    const double kurtosis = fourths * n / (squares * squares);
    double mean = 0;
    for (double& row : rows) mean += row = std::sqrt(row);
    mean /= static_cast<double>(rows.size());
    double variance = 0;
    for (const double row : rows) variance += (row - mean) * (row - mean);
    const double spread = std::sqrt(variance / static_cast<double>(rows.size())) / mean;
    const double expected = std::sqrt(std::max(0.0, kurtosis - 1) / (4 * static_cast<double>(values.cols())));
    const double off_centre = std::abs(sum) / std::sqrt(n * squares);
    return kurtosis < 3.3 && spread > expected / 1.5 && spread < expected * 1.5 && off_centre < 5 / std::sqrt(n);
  }

  // Detects a block that was never loaded: every norm's gains are exactly 1, and projections look like N(0, 0.02).
  void check_initial_values() {
    const BindingReport& binding = context_.binding();
    std::map<std::uint32_t, std::vector<std::string>> ones;
    std::map<std::uint32_t, bool> trained;
    for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
      const Parameter& parameter = (*binding.manifest)[p];
      const Binding& b = binding.bindings[p];
      if (parameter.block.kind != BlockKind::kMtp || !b.bound || b.shared || b.form != StorageForm::kPlain) continue;
      const TensorId id = *b.tensor(Component::kWeight);
      const TensorInfo& tensor = binding.tensor(id);
      if (!data_.readable(tensor)) continue;
      if (parameter.spec().group == ModuleGroup::kNorms) {
        bool one = true;
        for_each_float(tensor, [&](float v) { one = one && v == 1.0F; });
        if (one) {
          ones[parameter.block.index].push_back(binding.stored_name(id));
        } else {
          trained[parameter.block.index] = true;
        }
      } else if (parameter.slot == Slot::kEProj || parameter.slot == Slot::kHProj) {
        double sum = 0;
        double squares = 0;
        for_each_float(tensor, [&](float v) {
          sum += v;
          squares += static_cast<double>(v) * v;
        });
        const auto n = static_cast<double>(parameter.shape.elements());
        const double deviation = std::sqrt(std::max(0.0, squares / n - (sum / n) * (sum / n)));
        if (deviation < 0.015 || deviation > 0.025) trained[parameter.block.index] = true;
      }
    }
    for (const auto& [block, names] : ones) {
      if (trained[block]) continue;
      context_.add(Code::kMtpInitialValues,
                   fmt::format("every norm of mtp.{} ({}) is exactly 1.0 and its projections are spread as at "
                               "initialisation",
                               block, count_text(names.size(), "tensor")),
                   names);
    }
  }

  template <typename F>
  void for_each_float(const TensorInfo& tensor, F visit) {
    const std::size_t size = dtype_bits(tensor.dtype) / 8;
    data_.read(tensor, [&](std::span<const std::byte> bytes) {
      for (std::size_t i = 0; i + size <= bytes.size(); i += size) visit(load_float(tensor.dtype, bytes.data() + i));
    });
  }

  CheckContext& context_;
  TensorData data_;
  std::vector<Item> items_;
  std::vector<ValueStats> stats_;            // by item
  std::vector<std::uint64_t> out_of_range_;  // by item
  std::vector<std::uint64_t> prefixes_;      // by item
  std::map<Code, Found> found_;
  std::atomic<std::size_t> next_ = 0;
  std::atomic<std::uint64_t> done_ = 0;
  std::uint64_t total_ = 0;
  std::mutex progress_;
};

}  // namespace

void check_values(CheckContext& context) {
  if (context.report.binding == nullptr || context.checkpoint().names_only()) return;
  Scan(context).run();
}

}  // namespace outrider
