#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "outrider/decoding/generation.h"
#include "outrider/engine/text_stream.h"

namespace outrider {

// A text to be written.
struct Request {
  std::vector<std::uint32_t> prompt;
  GenerationParams params;
  TextStreamOptions text;
  std::unique_ptr<TokenMask> mask;  // may be null
};

enum class Outcome {
  kStop,       // a stop token or a stop string
  kLength,     // max_tokens
  kCancelled,  // by cancel(), or because the engine was shut down
  kRefused,    // by its mask: see Progress::error
  kFailed,     // the model: see Progress::error
};

// What one step added to a text.
struct Progress {
  std::vector<TokenLogprobs> prompt_logprobs;  // where they were asked for; with the first token, of all but the first
  std::vector<WrittenToken> tokens;
  std::string text;               // without the stop token's; a part may wait for the tokens that complete it
  SpeculationCounts speculation;  // of the whole text, up to here

  // At the end, once; nothing follows.
  std::optional<Outcome> outcome;
  std::optional<std::string> stop_string;  // that ended the text
  std::string error;
  std::size_t cached_tokens = 0;  // of the prompt
};

// Called on the engine's thread; must neither block nor throw.
using ProgressSink = std::function<void(Progress)>;

}  // namespace outrider
