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
  std::string endpoint = "/v1/completions";  // one that ends in /chat/completions gets messages
  std::string model;
  bool ignore_eos = false;
  std::optional<unsigned> logprobs;
  nlohmann::ordered_json extra_body = nlohmann::ordered_json::object();  // goes into every request
  double request_rate = std::numeric_limits<double>::infinity();         // a second; infinite: all at once
  double burstiness = 1;  // of the gamma distribution of intervals; 1: a Poisson process
  std::optional<std::size_t> max_concurrency;
  std::size_t warmups = 0;  // requests before, that are not counted
  std::string request_id_prefix;
  std::uint64_t seed = 0;

  bool chat() const { return endpoint.ends_with("/chat/completions"); }
};

// What became of one request. Times in seconds.
struct RequestOutcome {
  std::string error;        // empty where it was answered whole
  double start = 0;         // when it was sent, from the start of the run
  double queue_time = 0;    // it waited here before, for others to end (max_concurrency)
  double ttft = 0;          // to the first token
  double latency = 0;       // to the last token
  std::vector<double> itl;  // between what came one after another: a token, or with speculation several
  std::size_t prompt_tokens = 0;
  std::size_t output_tokens = 0;
  std::string text;

  bool success() const { return error.empty(); }
};

struct ServeRun {
  double duration = 0;                   // seconds
  std::vector<RequestOutcome> outcomes;  // in order of the prompts
  // What the server's counters grew by. Nothing where it does not draft or does not tell.
  std::optional<SpeculationCounts> speculation;
};

// The body of a request.
nlohmann::ordered_json request_body(const BenchmarkPrompt& prompt, const ServeBenchmarkOptions& options);

// When each of `count` requests is to be sent, in seconds from the start. Intervals are stretched so that the last is
// at count / rate, as vLLM has it.
std::vector<double> arrival_times(std::size_t count, const ServeBenchmarkOptions& options);

// Sends the prompts and measures the answers, which are streamed. `progress` (may be empty) is told of each that ended.
// Chats get texts only. Throws Error for options out of range; a request that fails is an outcome.
ServeRun run_serve_benchmark(HttpClient& client, std::span<const BenchmarkPrompt> prompts,
                             const ServeBenchmarkOptions& options,
                             const std::function<void(std::size_t done, std::size_t total)>& progress);

}  // namespace outrider
