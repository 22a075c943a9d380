#include <string>
#include <string_view>

#include "outrider/benchmark/dataset_file.h"
#include "outrider/testing/fuzz_target.h"
#include "outrider/testing/memory_file.h"
#include "outrider/util/error.h"

using outrider::testing::require;

// Any data set either fails with an Error or has as many prompts as were asked for.
FUZZ_TARGET(dataset_file) {
  const outrider::testing::MemoryFile file(input);
  outrider::DatasetOptions options;
  options.count = 20;
  outrider::TextTokens tokens;
  tokens.count = [](const std::string& text) { return text.size(); };
  try {
    const auto prompts = outrider::read_sharegpt_dataset(file.path(), options, tokens);
    require(prompts.size() == options.count);
    for (const auto& prompt : prompts) require(prompt.prompt_tokens + prompt.output_tokens <= 2048);
  } catch (const outrider::Error&) {  // NOLINT(bugprone-empty-catch): the other kind, perhaps
  }
  const auto prompts = outrider::read_custom_dataset(file.path(), options);
  require(prompts.size() == options.count);
  for (const auto& prompt : prompts) require(prompt.output_tokens != 0);
}
