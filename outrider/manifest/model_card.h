#pragma once

#include <optional>
#include <string_view>

namespace outrider {

// The acceptance rate of the MTP head according to a model card (a README.md with Hugging Face's metadata): the `value`
// of the metric of `type: mtp_acceptance` under `model-index`, from 0 to 1. nullopt if there is no such metric, or if
// the metadata cannot be parsed: a card is written for people.
std::optional<double> card_mtp_acceptance(std::string_view card);

}  // namespace outrider
