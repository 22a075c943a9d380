#include "outrider/architectures/model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "outrider/backend/cpu/cpu_backend.h"
#include "outrider/backend/timed_backend.h"
#include "outrider/manifest/architecture.h"
#include "outrider/util/error.h"

namespace outrider {

void require_finite(std::span<const float> logits) {
  if (std::ranges::all_of(logits, [](float v) { return std::isfinite(v); })) return;
  throw Error("The logits are not finite numbers: a weight is NaN or infinite. `outrider check --data` names it.");
}

std::unique_ptr<Model> make_model(std::shared_ptr<const Weights> weights, ModelOptions options) {
  const Kernels& kernels = options.kernels != nullptr ? *options.kernels : default_kernels();
  std::unique_ptr<Backend> backend =
      std::make_unique<CpuBackend>(options.mode, options.threads, kernels, options.pinning);
  if (options.times != nullptr) backend = std::make_unique<TimedBackend>(std::move(backend), *options.times);
  return make_model(std::move(weights), std::move(backend));
}

std::unique_ptr<Model> make_model(std::shared_ptr<const Weights> weights, std::unique_ptr<Backend> backend) {
  const Architecture& architecture = *weights->plan().manifest().config().architecture;
  return architecture.make_model(std::move(weights), std::move(backend));
}

}  // namespace outrider
