#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "outrider/benchmark/http_client.h"
#include "outrider/benchmark/prompts.h"
#include "outrider/decoding/generation.h"

namespace outrider {

struct ServeBenchmarkOptions {
  std::string endpoint = "/v1/completions";  // one that ends in /chat/completions receives messages
  std::string model;
  bool ignore_eos = false;
  std::optional<unsigned> logprobs;
  nlohmann::ordered_json extra_body = nlohmann::ordered_json::object();  // added to every request
  double request_rate = std::numeric_limits<double>::infinity();         // per second; infinite: all at once
  double burstiness = 1;  // shape of the gamma distribution of intervals; 1: a Poisson process
  std::optional<std::size_t> max_concurrency;
  std::size_t warmups = 0;  // requests before the measurement
  std::string request_id_prefix;
  std::uint64_t seed = 0;

  bool chat() const { return endpoint.ends_with("/chat/completions"); }
};

// The result of one request. Times in seconds.
struct RequestOutcome {
  std::string error;      // empty if it succeeded
  double start = 0;       // when it was sent, since the start of the run
  double queue_time = 0;  // waiting in the client for others to end (max_concurrency)
  double ttft = 0;        // time to the first token
  double latency = 0;     // time to the last token
  std::vector<double>
      itl;  // inter-token latencies: between consecutive events, which carry several tokens with speculation
  std::size_t prompt_tokens = 0;
  std::size_t output_tokens = 0;
  std::string text;

  bool success() const { return error.empty(); }
};

struct ServeRun {
  double duration = 0;                   // seconds
  std::vector<RequestOutcome> outcomes;  // in order of the prompts
  // The increase of the server's counters. Nothing if it does not draft or has no such counters.
  std::optional<SpeculationCounts> speculation;
};

// The JSON body of a request.
nlohmann::ordered_json request_body(const BenchmarkPrompt& prompt, const ServeBenchmarkOptions& options);

// When to send each of `count` requests, in seconds since the start. Intervals are scaled so that the last request is
// at count / rate, as in vLLM.
std::vector<double> arrival_times(std::size_t count, const ServeBenchmarkOptions& options);

// Sends the prompts and measures the streamed responses. `progress` (may be empty) is called after each request. Chats
// need string prompts. Throws Error for options out of range; a failed request is an outcome.
ServeRun run_serve_benchmark(HttpClient& client, std::span<const BenchmarkPrompt> prompts,
                             const ServeBenchmarkOptions& options,
                             const std::function<void(std::size_t done, std::size_t total)>& progress);

}  // namespace outrider
