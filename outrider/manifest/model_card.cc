#include "outrider/manifest/model_card.h"

#include <yaml-cpp/yaml.h>

#include <string>

namespace outrider {
namespace {

constexpr std::size_t kMaxMetadataBytes = 256 << 10;

// The text between the first two lines "---".
std::string_view front_matter(std::string_view card) {
  constexpr std::string_view kFence = "---\n";
  if (!card.starts_with(kFence)) return {};
  card.remove_prefix(kFence.size());
  const std::size_t end = card.find("\n---");
  return end > kMaxMetadataBytes ? std::string_view() : card.substr(0, end + 1);  // also if there is none
}

}  // namespace

std::optional<double> card_mtp_acceptance(std::string_view card) {
  const std::string_view metadata = front_matter(card);
  // Aliases can expand a small document to a huge one.
  if (metadata.empty() || metadata.find('&') != std::string_view::npos) return std::nullopt;
  try {
    for (const YAML::Node& model : YAML::Load(std::string(metadata))["model-index"]) {
      for (const YAML::Node& result : model["results"]) {
        for (const YAML::Node& metric : result["metrics"]) {
          if (metric["type"].as<std::string>("") != "mtp_acceptance") continue;
          const double value = metric["value"].as<double>(-1);
          if (value >= 0 && value <= 1) return value;
        }
      }
    }
  } catch (const YAML::Exception&) {
    return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace outrider
