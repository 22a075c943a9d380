#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <map>
#include <mutex>
#include <thread>

#include "outrider/check/context.h"
#include "outrider/check/tensor_data.h"
#include "outrider/check/value_scan.h"

namespace outrider {
namespace {

struct Found {
  std::vector<std::string> names;
  std::string first;
};

bool is_scale(Component c) {
  switch (c) {
    case Component::kScale:
    case Component::kWeightScale:
    case Component::kWeightScaleInv:
    case Component::kWeightGlobalScale:
    case Component::kWeightScale2:
      return true;
    default:
      return false;
  }
}

class Scan {
 public:
  explicit Scan(CheckContext& context)
      : context_(context),
        data_(context.checkpoint()),
        stats_(context.checkpoint().tensors().size()),
        out_of_range_(stats_.size()) {}

  void run() {
    const auto start = std::chrono::steady_clock::now();
    const auto& tensors = context_.checkpoint().tensors();
    // In the order of the files, so that the disk reads forward.
    for (TensorId t = 0; t < tensors.size(); ++t) {
      if (!data_.readable(tensors[t]) || !(context_.options.data || of_drafter(t))) continue;
      order_.push_back(t);
      total_ += tensors[t].bytes();
    }
    std::sort(order_.begin(), order_.end(), [&](TensorId a, TensorId b) {
      return std::pair(tensors[a].file, tensors[a].begin) < std::pair(tensors[b].file, tensors[b].begin);
    });
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < std::max(1U, context_.options.threads); ++i) threads.emplace_back([this] { work(); });
    threads.clear();
    report();
    compare_aliases();
    check_initial_values();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    context_.report.scan = ScanSummary{done_, seconds.count()};
  }

 private:
  void work() {
    while (true) {
      const std::size_t at = next_++;
      if (at >= order_.size()) return;
      const TensorId t = order_[at];
      const TensorInfo& tensor = context_.checkpoint().tensors()[t];
      const TensorName& name = context_.binding().names[t];
      const bool parameter = name.kind == TensorName::Kind::kParameter;
      const bool int4 = parameter && name.component == Component::kWeightPacked;
      const bool table = parameter && name.slot == Slot::kGateTid2Eid;
      // U8 in a scale's place holds E8M0 exponents, not pairs of FP4 codes.
      const bool exponents = parameter && is_scale(name.component) && tensor.dtype == Dtype::kU8;
      const Dtype dtype = exponents ? Dtype::kF8E8M0 : tensor.dtype;
      data_.read(tensor, [&](std::span<const std::byte> bytes) {
        stats_[t].add(scan_values(dtype, bytes, int4));
        if (table && (tensor.dtype == Dtype::kI64 || tensor.dtype == Dtype::kI32)) {
          out_of_range_[t] += count_out_of_range(tensor.dtype, bytes,
                                                 static_cast<std::int64_t>(context_.reading().config.n_routed_experts));
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

  void found(Code code, TensorId tensor, std::string message) {
    Found& f = found_[code];
    if (f.names.empty()) f.first = std::move(message);
    f.names.push_back(stored_name(tensor));
  }

  void report() {
    for (TensorId t = 0; t < stats_.size(); ++t) {
      const TensorName& name = context_.binding().names[t];
      const ValueStats& s = stats_[t];
      if (s.elements == 0 || name.kind != TensorName::Kind::kParameter) continue;
      if (is_scale(name.component)) {
        report_scale(t, s);
        continue;
      }
      if (s.nan + s.infinite != 0) {
        found(Code::kNotANumber, t,
              fmt::format("{} has {} NaN and {} infinite of {} values", stored_name(t), grouped(s.nan),
                          grouped(s.infinite), grouped(s.elements)));
      }
      const Storage storage = parameter_spec(name.slot).storage;
      const bool may_be_zero = storage == Storage::kFloat32 || storage == Storage::kInteger;
      const bool codes = name.component == Component::kWeight || name.component == Component::kWeightPacked;
      if (s.nonzero == 0 && codes && !may_be_zero) {
        found(Code::kAllZero, t, fmt::format("{}: all {} values are zero", stored_name(t), grouped(s.elements)));
      }
      if (out_of_range_[t] != 0) {
        found(Code::kHashTableRange, t,
              fmt::format("{}: {} entries are not expert numbers below n_routed_experts {}", stored_name(t),
                          grouped(out_of_range_[t]), context_.reading().config.n_routed_experts));
      }
    }
    for (const auto& [code, f] : found_) {
      context_.add(code,
                   f.first + (f.names.size() == 1 ? "" : fmt::format("; and {} more", grouped(f.names.size() - 1))),
                   f.names);
    }
  }

  void report_scale(TensorId t, const ValueStats& s) {
    const Dtype dtype = context_.checkpoint().tensors()[t].dtype;
    const bool exponent = dtype == Dtype::kF8E8M0 || dtype == Dtype::kU8;
    if (s.nonzero == 0) {
      found(Code::kScalesCast, t, fmt::format("{}: all {} scales have code 0", stored_name(t), grouped(s.elements)));
    } else if (exponent && s.all_ones) {
      found(Code::kScalesCast, t,
            fmt::format("{}: all {} scales have code 0xFF, which is NaN", stored_name(t), grouped(s.elements)));
    } else if (s.nan + s.infinite + s.negative != 0 || (!exponent && s.nonzero != s.elements)) {
      found(Code::kBadScale, t,
            fmt::format("{}: of {} scales {} are NaN or infinite, {} zero, {} negative", stored_name(t),
                        grouped(s.elements), grouped(s.nan + s.infinite),
                        grouped(exponent ? 0 : s.elements - s.nonzero), grouped(s.negative)));
    }
  }

  // A block's own head and embedding against the model's, which they should repeat.
  void compare_aliases() {
    const BindingReport& binding = context_.binding();
    std::vector<std::string> differ;
    std::string first;
    for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
      const Parameter& parameter = (*binding.manifest)[p];
      if (!parameter.falls_back_to) continue;
      const Binding& own = binding.bindings[p];
      const Binding& shared = binding.bindings[*parameter.falls_back_to];
      if (!own.bound || own.shared || !shared.bound || own.form != StorageForm::kPlain ||
          shared.form != StorageForm::kPlain)
        continue;
      const TensorId a = *own.tensor(Component::kWeight);
      const TensorId b = *shared.tensor(Component::kWeight);
      const std::optional<std::uint64_t> different =
          count_different(data_, binding.tensor(a), data_, binding.tensor(b));
      if (!different || *different == 0) continue;
      differ.push_back(binding.stored_name(a));
      if (first.empty()) {
        first = fmt::format("{} differs from {} in {} of {} values", binding.stored_name(a), binding.stored_name(b),
                            grouped(*different), grouped(parameter.shape.elements()));
      }
    }
    if (!differ.empty()) context_.add(Code::kAliasDiffers, first, differ);
  }

  // A block that was never loaded: every norm's gains are exactly 1, and projections look like N(0, 0.02).
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
  std::vector<ValueStats> stats_;
  std::vector<std::uint64_t> out_of_range_;
  std::vector<TensorId> order_;
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
