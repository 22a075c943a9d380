#include "outrider/binding/open_plan.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "outrider/util/error.h"

namespace outrider {

std::shared_ptr<const CompletePlan> open_plan(const std::filesystem::path& path, unsigned threads) {
  auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(path, threads));
  const std::string where = path.string();
  if (checkpoint->config_json().empty()) {
    throw Error(
        fmt::format("{}: there is no config.json beside the weights, so nothing says which parameters the "
                    "model has. Copy it from the source of the checkpoint.",
                    where));
  }
  const ConfigReading reading = read_config(checkpoint->config_json());
  if (!reading.sound()) {
    std::string message = fmt::format("{}: config.json cannot be worked with:", where);
    for (const ConfigIssue& issue : reading.issues) message += fmt::format("\n  {}: {}", issue.field, issue.message);
    throw Error(message);
  }
  const DrafterScan drafter = scan_drafter(*checkpoint, reading.config.num_hidden_layers);
  BindResult result = bind(checkpoint, manifest_for(reading.config, drafter));
  if (auto* plan = std::get_if<CompletePlan>(&result)) {
    return std::make_shared<const CompletePlan>(std::move(*plan));
  }
  const auto& report = std::get<BindingReport>(result);
  std::string message = fmt::format("{}: the checkpoint is not complete, so it cannot be run:", where);
  for (const BindingFault& fault : report.faults) {
    message += fmt::format("\n  {}: {}", (*report.manifest)[fault.parameter].name(), fault.detail);
  }
  message += "\n`outrider check` says more about each of these.";
  throw Error(message);
}

}  // namespace outrider
