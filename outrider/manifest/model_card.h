#pragma once

#include <optional>
#include <string_view>

namespace outrider {

// The share of drafts that a model card (a README.md with Hugging Face's metadata) says its MTP head has accepted: the
// `value` of the metric of `type: mtp_acceptance` under `model-index`, from 0 to 1. None where the card has no such
// metric, or no metadata that can be read: a card is for people.
std::optional<double> card_mtp_acceptance(std::string_view card);

}  // namespace outrider
