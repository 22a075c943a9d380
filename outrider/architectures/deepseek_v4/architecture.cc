#include "outrider/architectures/deepseek_v4/architecture.h"

#include "outrider/architectures/deepseek_v4/config_reader.h"
#include "outrider/architectures/deepseek_v4/parameters.h"

namespace outrider::deepseek_v4 {
namespace {

void read_config(const nlohmann::json& root, const HintSource& hints, ConfigReading& out) {
  ConfigReader(root, out).read(hints);
}

}  // namespace

constinit const Architecture kArchitecture = {
    .model_type = "deepseek_v4", .read_config = read_config, .parameters = parameters};

}  // namespace outrider::deepseek_v4
