// Lets allocations fail while two sequences are decoded together, at every sixth place that allocates;
// OUTRIDER_LONG_TESTS=1: at every one.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "outrider/decoding/decoder.h"
#include "outrider/prompt/prompt_ids.h"
#include "outrider/testing/bundled_model.h"
#include "tests/faults/failing_allocator.h"

namespace outrider {
namespace {

using testing::bundled_tokenizer;
using Tokens = std::vector<std::uint32_t>;

// Longer than what can be rolled back: a pass over it that fails overwrites what was there.
Tokens long_prompt() {
  std::string text = "Genesis 12\n\n";
  for (int i = 0; i < 14; ++i) text += "1 And it came to pass in those days, that he went up. ";
  return text_prompt_ids(bundled_tokenizer(), text);
}

TEST(DecoderFailure, TakesBackWhatAFailedPassBegan) {
  const auto model = testing::load_bundled_model();
  SpeculativeConfig config;
  config.num_speculative_tokens = 2;
  const Decoder decoder(*model, {config, 48});
  GenerationParams params;
  params.max_tokens = 6;
  params.logprobs = 0;
  const std::vector<Tokens> prompts = {long_prompt(), text_prompt_ids(bundled_tokenizer(), "In the beginning God")};
  struct Output {
    Tokens tokens;
    std::vector<float> logprobs;
    bool out_of_memory = false;
  };
  // `failing`: called when everything is ready.
  const auto run = [&](const auto& failing) {
    std::vector<Generation> generations;
    for (const Tokens& prompt : prompts) generations.push_back(decoder.start(prompt, params));
    std::vector<Output> outputs(prompts.size());
    std::vector<StepItem> items;
    for (Generation& each : generations) items.push_back({&each, 48});
    const auto goes_on = [](const StepItem& item) {
      return !item.generation->finished() && !item.generation->out_of_memory();
    };
    failing();
    while (std::erase_if(items, [&](const StepItem& item) { return !goes_on(item); }), !items.empty()) {
      decoder.step(items);
      const testing::Exempt exempt;
      for (const StepItem& item : items) {
        Output& output = outputs[static_cast<std::size_t>(item.generation - generations.data())];
        for (const OutputToken& token : item.generation->new_tokens()) {
          output.tokens.push_back(token.id);
          output.logprobs.push_back(token.logprobs->logprob);
        }
      }
    }
    testing::Allocations ended = testing::end_failures();
    for (std::size_t i = 0; i < outputs.size(); ++i) outputs[i].out_of_memory = generations[i].out_of_memory();
    return std::pair(std::move(outputs), std::move(ended));
  };
  const auto [expected, recorded] = run([] { testing::record_allocations(); });
  const std::size_t step = std::getenv("OUTRIDER_LONG_TESTS") == nullptr ? 6 : 1;
  std::vector<std::size_t> chosen;
  for (std::size_t at = 0; at < recorded.first_of_place.size(); at += step) {
    chosen.push_back(recorded.first_of_place[at]);
    chosen.push_back(recorded.middle_of_place[at]);  // within a prompt, for most
  }
  std::size_t ended = 0;
  for (const std::size_t n : chosen) {
    SCOPED_TRACE(fmt::format("allocation {} of {}", n, recorded.made));
    const auto outputs = run([&] { testing::fail_allocations(n); }).first;
    std::size_t lost = 0;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      lost += outputs[i].out_of_memory ? 1 : 0;
      if (!outputs[i].out_of_memory) {
        EXPECT_EQ(outputs[i].tokens, expected[i].tokens) << i;
        EXPECT_EQ(outputs[i].logprobs, expected[i].logprobs) << i;
      }
    }
    EXPECT_LE(lost, 1U);
    ended += lost;
  }
  EXPECT_LT(ended, chosen.size() / 2);
  fmt::print("{} allocations at {} places; {} failures, {} sequences ended\n", recorded.made,
             recorded.first_of_place.size(), chosen.size(), ended);
}

}  // namespace
}  // namespace outrider
