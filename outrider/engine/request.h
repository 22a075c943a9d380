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

// One sequence to generate.
struct Request {
  std::vector<std::uint32_t> prompt;
  GenerationParams params;
  TextStreamOptions text;
  std::unique_ptr<TokenMask> mask;  // may be null
  bool reuse = true;                // of the prefix cache: this request resumes from it, and others from this request
};

enum class Outcome {
  kStop,       // a stop token or a stop string
  kLength,     // max_tokens
  kCancelled,  // cancel(), or the engine was shut down
  kRefused,    // no token may follow, or the mask failed: see Progress::error
  kFailed,     // the model failed: see Progress::error
};

// What one step added to a sequence.
struct Progress {
  std::vector<TokenLogprobs>
      prompt_logprobs;  // if requested; with the first token, for all prompt tokens but the first
  std::vector<OutputToken> tokens;
  std::string text;  // without the stop token; incomplete characters wait for the next tokens
  DraftRound round;
  SpeculationCounts speculation;  // of the whole sequence so far

  // Set once, at the end; no Progress follows.
  std::optional<Outcome> outcome;
  std::optional<std::string> stop_string;  // the stop string that ended the output
  std::string error;
  bool out_of_memory = false;     // kFailed because memory lacked; `error` is empty then
  std::size_t cached_tokens = 0;  // prompt tokens reused from the prefix cache
};

// Called on the engine's thread; must not block. If it throws, the request ends, and the sink is called once more with
// the outcome kFailed and out_of_memory; what it throws then is ignored.
using ProgressSink = std::function<void(Progress)>;

}  // namespace outrider
