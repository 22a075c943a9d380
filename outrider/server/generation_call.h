#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "outrider/engine/engine.h"
#include "outrider/server/generation_request.h"
#include "outrider/server/http_server.h"

namespace outrider {

// How a call ended, for the log.
struct CallSummary {
  std::string id;
  unsigned status = 200;
  std::string finish_reason;  // of the first choice; "abort" where the client went away
  std::size_t prompt_tokens = 0;
  std::size_t cached_tokens = 0;
  std::size_t completion_tokens = 0;
  SpeculationCounts speculation;
};

struct CallOptions {
  std::string model;                                 // the name it was asked for by
  std::uint64_t seed = 0;                            // where the request has none
  std::function<std::unique_ptr<TokenMask>()> mask;  // one for each choice; may be empty
  std::function<void(const CallSummary&)> on_end;
};

// Has the engine write all choices of a request, and answers with one object, or with a stream of events. To be called
// on the responder's strand. Throws ApiError, QueueFull and ShuttingDown before anything was sent.
void start_generation_call(Engine& engine, const Tokenizer& tokenizer, GenerationRequest request, CallOptions options,
                           std::shared_ptr<HttpResponder> responder);

}  // namespace outrider
