#include "outrider/architectures/deepseek_v4/architecture.h"

#include <utility>

#include "outrider/architectures/deepseek_v4/config_reader.h"
#include "outrider/architectures/deepseek_v4/deepseek_v4_model.h"
#include "outrider/architectures/deepseek_v4/parameters.h"

namespace outrider::deepseek_v4 {
namespace {

void read_config(const nlohmann::json& root, const HintSource& hints, ConfigReading& out) {
  ConfigReader(root, out).read(hints);
}

std::unique_ptr<Model> make_model(std::shared_ptr<const Weights> weights, std::unique_ptr<Backend> backend) {
  return std::make_unique<DeepseekV4Model>(std::move(weights), std::move(backend));
}

}  // namespace

constinit const Architecture kArchitecture = {
    .model_type = "deepseek_v4",
    .gguf_name = "deepseek4",
    .read_config = read_config,
    .parameters = parameters,
    .make_model = make_model,
};

}  // namespace outrider::deepseek_v4
