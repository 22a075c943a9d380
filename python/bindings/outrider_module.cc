// The module outrider._outrider. The package's Python code (python/outrider) has the interface for people; here are the
// calls it makes. The lock of the interpreter is released while they run.

#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "outrider/artifact/convert/convert.h"
#include "outrider/artifact/quantize/quantize.h"
#include "outrider/artifact/repair/repair.h"
#include "outrider/check/check.h"
#include "outrider/check/gguf_check.h"
#include "outrider/check/report.h"
#include "outrider/checkpoint/checkpoint_path.h"
#include "outrider/hub/remote_check.h"
#include "outrider/util/error.h"
#include "outrider/util/thread_pool.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace outrider {
namespace {

using Path = std::filesystem::path;
using OptionalPath = std::optional<Path>;
using WithoutLock = nb::call_guard<nb::gil_scoped_release>;

// Calls `callback(done, total)`, from any thread, if it is not None. Throws what the callback raised, and
// KeyboardInterrupt after Ctrl-C.
std::function<void(std::uint64_t, std::uint64_t)> progress_to(nb::handle callback) {
  return [callback](std::uint64_t done, std::uint64_t total) {
    const nb::gil_scoped_acquire lock;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    if (!callback.is_none()) callback(done, total);
  };
}

unsigned threads_or_all(std::optional<unsigned> threads, unsigned at_most) {
  return std::clamp(threads.value_or(usable_processors()), 1U, at_most);
}

std::shared_ptr<const CheckReport> check(const Path& path, bool data, const OptionalPath& reference, bool offline,
                                         nb::handle progress) {
  ThreadPool pool(threads_or_all({}, 8));
  CheckOptions options;
  options.data = data;
  options.reference = reference;
  options.pool = &pool;
  options.progress = progress_to(progress);
  if (is_remote_address(path.string())) {
    return std::make_shared<const CheckReport>(check_remote(path.string(), offline, options, options.progress));
  }
  std::optional<CheckReport> gguf = check_gguf(path, options);
  return std::make_shared<const CheckReport>(gguf ? std::move(*gguf) : check_path(path, options));
}

RepairPlan plan(const Path& path, const OptionalPath& reference, const std::vector<std::string>& only,
                bool alias_in_float32, bool head_in_float32, bool partial) {
  ThreadPool pool(threads_or_all({}, 8));
  RepairOptions options;
  if (reference) options.reference = checkpoint_path(*reference);
  options.only = repairable_codes(only);
  options.alias_in_float32 = alias_in_float32;
  options.head_in_float32 = head_in_float32;
  options.partial = partial;
  options.pool = &pool;
  return plan_repair(checkpoint_path(path), options);
}

std::shared_ptr<const CheckReport> repair(const RepairPlan& plan, const Path& path, const OptionalPath& output,
                                          nb::handle progress) {
  return std::make_shared<const CheckReport>(carry_out(plan, checkpoint_path(path), output, progress_to(progress)));
}

std::shared_ptr<const CheckReport> convert_to(const Path& path, const Path& output, bool official,
                                              std::uint64_t max_shard_size, nb::handle progress) {
  ConvertOptions options;
  options.to = official ? Dialect::kOfficial : Dialect::kHuggingFace;
  options.max_shard_bytes = max_shard_size;
  const Path directory = checkpoint_path(path);
  const ConvertPlan plan = plan_convert(directory, options);
  return std::make_shared<const CheckReport>(convert(plan, directory, output, progress_to(progress)));
}

QuantizeResult quantize_to(const Path& path, const Path& output, const std::string& recipe, bool mtp, bool aliases,
                           bool alias_in_float32, std::uint64_t max_shard_size, std::optional<unsigned> threads,
                           nb::handle progress) {
  QuantizeOptions options;
  options.recipe = read_recipe(recipe);
  options.recipe.quantise_mtp = options.recipe.quantise_mtp || mtp;
  options.recipe.aliases = options.recipe.aliases && aliases;
  options.recipe.alias_in_float32 = alias_in_float32;
  options.max_shard_bytes = max_shard_size;
  options.threads = threads_or_all(threads, 256);
  return quantize(checkpoint_path(path), output, options, progress_to(progress));
}

void define_repair(nb::module_& m) {
  nb::class_<TensorPattern>(m, "TensorPattern")
      .def_ro("pattern", &TensorPattern::pattern)
      .def_ro("count", &TensorPattern::count);
  nb::class_<RepairAction>(m, "RepairAction")
      .def_prop_ro("code", [](const RepairAction& a) { return std::string(finding_kind(a.code).code); })
      .def_prop_ro("slug", [](const RepairAction& a) { return std::string(finding_kind(a.code).slug); })
      .def_ro("what", &RepairAction::what)
      .def_ro("tensors", &RepairAction::tensors)
      .def_ro("bytes", &RepairAction::bytes);
  nb::class_<RemainingFinding>(m, "RemainingFinding")
      .def_prop_ro("code", [](const RemainingFinding& r) { return std::string(finding_kind(r.code).code); })
      .def_prop_ro("slug", [](const RemainingFinding& r) { return std::string(finding_kind(r.code).slug); })
      .def_ro("why", &RemainingFinding::why);
  nb::class_<RepairPlan>(m, "RepairPlan")
      .def_ro("actions", &RepairPlan::actions)
      .def_ro("remaining", &RepairPlan::remaining)
      .def_prop_ro("bytes_to_write", [](const RepairPlan& p) { return p.artifact.bytes_to_write(); })
      .def("leaves_errors", &RepairPlan::leaves_errors);
  m.def("plan_repair", &plan, "path"_a, "reference"_a.none(), "only"_a, "alias_in_float32"_a, "head_in_float32"_a,
        "partial"_a, WithoutLock());
  m.def("repair", &repair, "plan"_a, "path"_a, "output"_a.none(), "progress"_a.none(), WithoutLock());
}

void define_quantize(nb::module_& m) {
  nb::class_<GroupError>(m, "GroupError")
      .def_prop_ro("group", [](const GroupError& e) { return std::string(module_group_name(e.group)); })
      .def_ro("drafter", &GroupError::drafter)
      .def_ro("form", &GroupError::form)
      .def_ro("weights", &GroupError::weights)
      .def_ro("mean", &GroupError::mean)
      .def_ro("worst", &GroupError::worst)
      .def_ro("worst_name", &GroupError::worst_name);
  nb::class_<QuantizeResult>(m, "QuantizeResult")
      .def_prop_ro("report", [](const QuantizeResult& r) { return std::make_shared<const CheckReport>(r.report); })
      .def_ro("errors", &QuantizeResult::errors)
      .def_ro("resumed", &QuantizeResult::resumed);
  m.def("quantize", &quantize_to, "path"_a, "output"_a, "recipe"_a, "mtp"_a, "aliases"_a, "alias_in_float32"_a,
        "max_shard_size"_a, "threads"_a.none(), "progress"_a.none(), WithoutLock());
}

}  // namespace
}  // namespace outrider

NB_MODULE(_outrider, m) {
  using namespace outrider;
  m.attr("__version__") = OUTRIDER_VERSION;
  nb::exception<Error>(m, "Error").attr("__module__") = "outrider";
  nb::class_<CheckReport>(m, "CheckReport")
      .def(
          "json", [](const CheckReport& r, bool strict) { return report_json(r, strict); }, "strict"_a = false)
      .def(
          "text",
          [](const CheckReport& r, unsigned width, bool strict) { return report_text(r, width, false, strict); },
          "width"_a = 100, "strict"_a = false)
      .def("parameter_map", [](const CheckReport& r) { return parameter_map(r); });
  m.def("check", &check, "path"_a, "data"_a, "reference"_a.none(), "offline"_a, "progress"_a.none(), WithoutLock());
  define_repair(m);
  m.def("convert", &convert_to, "path"_a, "output"_a, "official"_a, "max_shard_size"_a, "progress"_a.none(),
        WithoutLock());
  define_quantize(m);
}
