#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "outrider/engine/engine.h"
#include "outrider/server/generation_request.h"
#include "outrider/server/http/http_server.h"

namespace outrider {

// How a call ended; for the log.
struct CallSummary {
  std::string id;
  unsigned status = 200;
  std::string finish_reason;  // of the first choice; "abort" if the client disconnected
  std::size_t prompt_tokens = 0;
  std::size_t cached_tokens = 0;
  std::size_t completion_tokens = 0;
  SpeculationCounts speculation;
  std::size_t n = 1;                        // choices per prompt
  std::vector<std::size_t> most_generated;  // for each prompt, the tokens of its longest choice
};

// What answers report of draft rounds, in metrics.speculative_decoding: vLLM's --per-request-spec-decode-metrics.
enum class SpecDecodeMetrics {
  kNone,
  kSummary,
  kDetailed,  // lists the rounds
};

struct CallOptions {
  std::string model;                                 // the name that the request used
  std::uint64_t seed = 0;                            // if the request has none
  std::function<std::unique_ptr<TokenMask>()> mask;  // called once per choice; may be empty
  SpecDecodeMetrics spec_decode_metrics = SpecDecodeMetrics::kNone;
  std::function<void(const CallSummary&)> on_end;
};

// Has the engine generate all choices of a request, and answers with one JSON object or a stream of events. May be
// called on any thread. Throws ApiError, QueueFull or ShuttingDown before anything is sent.
void start_generation_call(Engine& engine, const Tokenizer& tokenizer, GenerationRequest request, CallOptions options,
                           std::shared_ptr<HttpResponder> responder);

}  // namespace outrider
