#include "outrider/server/speculation_json.h"

#include <cstdint>
#include <vector>

namespace outrider {

using nlohmann::ordered_json;

ordered_json speculation_json(const SpeculationCounts& counts) {
  return {{"num_drafts", counts.drafts},
          {"num_draft_tokens", counts.draft_tokens},
          {"num_accepted_tokens", counts.accepted_tokens},
          {"num_accepted_tokens_per_pos", counts.accepted_per_position}};
}

ordered_json speculative_decoding_json(const SpeculationCounts& counts, std::size_t num_speculative_tokens,
                                       std::span<const DraftRound> rounds) {
  // Rounds by their number of accepted tokens: so many accepted at least j, less those that accepted more.
  std::vector<std::uint64_t> at_least = {counts.drafts};
  at_least.insert(at_least.end(), counts.accepted_per_position.begin(), counts.accepted_per_position.end());
  at_least.resize(num_speculative_tokens + 2);
  std::vector<std::uint64_t> histogram;
  for (std::size_t j = 0; j <= num_speculative_tokens; ++j) histogram.push_back(at_least[j] - at_least[j + 1]);

  ordered_json json = {{"mean_acceptance_length", counts.acceptance_length()},
                       {"draft_acceptance_rate", counts.acceptance_rate()},
                       {"acceptance_histogram", histogram},
                       {"num_spec_steps", counts.drafts},
                       {"num_accepted_draft_tokens", counts.accepted_tokens},
                       {"num_draft_tokens", counts.draft_tokens},
                       {"num_spec_tokens", num_speculative_tokens}};
  for (const DraftRound& round : rounds) {
    json["per_step_accepted"].push_back(round.accepted);
    json["per_step_drafted"].push_back(round.drafted);
  }
  return json;
}

}  // namespace outrider
