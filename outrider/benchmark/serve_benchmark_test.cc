// Tests of the client against a fake server.

#include "outrider/benchmark/serve_benchmark.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "outrider/benchmark/serve_report.h"
#include "outrider/server/http/http_server.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;

// Answers /v1/completions with three chunks of two tokens, and reports drafts in /metrics.
class FakeServer {
 public:
  FakeServer()
      : server_({.port = 0},
                {.handle = [this](const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder) {
                  handle(request, *responder);
                }}) {}

  HttpClient client(std::vector<HttpHeader> headers = {}) const {
    return HttpClient(parse_base_url(fmt::format("http://127.0.0.1:{}", server_.port())), std::move(headers),
                      {std::chrono::seconds(5), std::chrono::seconds(20)});
  }
  std::vector<nlohmann::json> bodies() {
    const std::lock_guard lock(mutex_);
    return bodies_;
  }

  std::atomic<unsigned> refuse_every = 0;  // 429 for each nth request
  std::atomic<bool> break_off = false;
  std::atomic<std::size_t> most_at_once = 0;

 private:
  void handle(const HttpRequest& request, HttpResponder& responder) {
    if (request.path == "/metrics") {
      responder.send({200,
                      "text/plain",
                      fmt::format("vllm:spec_decode_num_drafts_total 1{0}\n"
                                  "vllm:spec_decode_num_draft_tokens_total 2{0}\n"
                                  "vllm:spec_decode_num_accepted_tokens_total 1{0}\n"
                                  "vllm:spec_decode_num_accepted_tokens_per_pos_total{{position=\"0\"}} 1{0}\n",
                                  metrics_++),
                      {}});
      return;
    }
    std::size_t number = 0;
    {
      const std::lock_guard lock(mutex_);
      bodies_.push_back(nlohmann::json::parse(request.body));
      number = bodies_.size();
    }
    if (refuse_every != 0 && number % refuse_every == 0) {
      responder.send({429, "application/json", R"({"error": {"message": "The queue is full."}})", {}});
      return;
    }
    most_at_once = std::max<std::size_t>(most_at_once, ++running_);
    responder.begin_stream("text/event-stream");
    for (int i = 0; i < 3; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      responder.write(
          ": ping\n\ndata: {\"choices\": [{\"index\": 0, \"text\": \"ab\", \"delta\": {\"content\": \"cd\"}}]}\n\n");
    }
    --running_;
    if (break_off) {
      responder.write("data: {\"error\": {\"message\": \"A weight is faulty.\"}}\n\ndata: [DONE]\n\n");
    } else {
      responder.write(
          "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 9, \"completion_tokens\": 6}}\n\ndata: [DONE]\n\n");
    }
    responder.end_stream();
  }

  std::mutex mutex_;
  std::vector<nlohmann::json> bodies_;
  std::atomic<int> metrics_ = 0;
  std::atomic<std::size_t> running_ = 0;
  HttpServer server_;
};

std::vector<BenchmarkPrompt> prompts(std::size_t count) {
  std::vector<BenchmarkPrompt> out;
  for (std::size_t i = 0; i < count; ++i) out.push_back({std::vector<TokenId>{1, 2, static_cast<TokenId>(i)}, 3, 6});
  return out;
}

TEST(ServeBenchmark, MeasuresEachRequest) {
  FakeServer server;
  HttpClient client = server.client();
  ServeBenchmarkOptions options;
  options.model = "m";
  options.ignore_eos = true;
  options.extra_body = {{"temperature", 0}};
  std::size_t told = 0;
  const ServeRun run = run_serve_benchmark(client, prompts(5), options, [&](std::size_t done, std::size_t total) {
    EXPECT_EQ(done, ++told);
    EXPECT_EQ(total, 5U);
  });
  EXPECT_EQ(told, 5U);
  for (const RequestOutcome& outcome : run.outcomes) {
    EXPECT_EQ(outcome.error, "");
    EXPECT_EQ(outcome.prompt_tokens, 9U);
    EXPECT_EQ(outcome.output_tokens, 6U);
    EXPECT_EQ(outcome.itl.size(), 2U);
    EXPECT_GT(outcome.ttft, 0);
    EXPECT_GE(outcome.latency, outcome.ttft + outcome.itl[0]);
    EXPECT_EQ(outcome.text, "abcdabcdabcd");
    EXPECT_LE(outcome.latency, run.duration);
  }
  ASSERT_TRUE(run.speculation);
  EXPECT_EQ(run.speculation->drafts, 1U);
  EXPECT_EQ(run.speculation->accepted_tokens, 1U);

  std::vector<int> last;
  for (const nlohmann::json& body : server.bodies()) {
    last.push_back(body["prompt"][2]);
    EXPECT_EQ(body["model"], "m");
    EXPECT_EQ(body["max_tokens"], 6);
    EXPECT_EQ(body["stream"], true);
    EXPECT_EQ(body["stream_options"]["include_usage"], true);
    EXPECT_EQ(body["ignore_eos"], true);
    EXPECT_EQ(body["temperature"], 0);
  }
  EXPECT_THAT(last, ::testing::UnorderedElementsAre(0, 1, 2, 3, 4));
}

TEST(ServeBenchmark, RespectsTheMaximumConcurrency) {
  FakeServer server;
  HttpClient client = server.client();
  ServeBenchmarkOptions options;
  options.max_concurrency = 1;
  const ServeRun run = run_serve_benchmark(client, prompts(6), options, {});
  EXPECT_EQ(server.most_at_once, 1U);
  EXPECT_GT(run.outcomes[5].queue_time, run.outcomes[1].queue_time);
  EXPECT_GE(run.outcomes[5].start, run.outcomes[0].latency);
}

TEST(ServeBenchmark, CountsFailuresAndContinues) {
  FakeServer server;
  server.refuse_every = 3;
  HttpClient client = server.client();
  const ServeRun run = run_serve_benchmark(client, prompts(9), {}, {});
  const auto json = serve_report_json(run, {}, {});
  EXPECT_EQ(json["completed"], 6);
  EXPECT_EQ(json["failed"], 3);
  EXPECT_EQ(json["total_output_tokens"], 36);
  const std::string text = serve_report_text(run, {}, {});
  EXPECT_THAT(text, HasSubstr("3 of 9 requests failed"));
  EXPECT_THAT(text, HasSubstr("status 429: The queue is full."));
}

TEST(ServeBenchmark, AnErrorInAStreamIsAFailure) {
  FakeServer server;
  server.break_off = true;
  HttpClient client = server.client();
  const ServeRun run = run_serve_benchmark(client, prompts(1), {}, {});
  EXPECT_EQ(run.outcomes[0].error, "A weight is faulty.");
}

TEST(ServeBenchmark, AnUnreachableServerFailsEachRequest) {
  HttpClient client(parse_base_url("http://127.0.0.1:1"));
  const ServeRun run = run_serve_benchmark(client, prompts(2), {}, {});
  EXPECT_FALSE(run.speculation);
  for (const RequestOutcome& outcome : run.outcomes)
    EXPECT_THAT(outcome.error, HasSubstr("127.0.0.1:1: cannot connect"));
  EXPECT_THROW(client.get("/v1/models"), Error);
}

TEST(ServeBenchmark, ChatsSendMessages) {
  ServeBenchmarkOptions options;
  options.endpoint = "/v1/chat/completions";
  options.logprobs = 3;
  const auto body = request_body({std::string("Hello"), 1, 4}, options);
  EXPECT_EQ(body["messages"][0]["content"], "Hello");
  EXPECT_EQ(body["max_completion_tokens"], 4);
  EXPECT_EQ(body["top_logprobs"], 3);
  EXPECT_FALSE(body.contains("prompt"));
  EXPECT_THROW(request_body(prompts(1)[0], options), Error);
}

TEST(ServeBenchmark, ArrivalsMatchTheRate) {
  ServeBenchmarkOptions options;
  EXPECT_THAT(arrival_times(3, options), ::testing::ElementsAre(0, 0, 0));
  options.request_rate = 10;
  const std::vector<double> times = arrival_times(1000, options);
  EXPECT_TRUE(std::ranges::is_sorted(times));
  EXPECT_NEAR(times.back(), 100, 1e-9);
  // In a Poisson process, a fraction of e^-1 of the intervals is longer than the mean.
  double longer = 0;
  for (std::size_t i = 1; i < times.size(); ++i) longer += times[i] - times[i - 1] > 0.1 ? 1 : 0;
  EXPECT_NEAR(longer / 999, 0.368, 0.06);
  options.burstiness = std::numeric_limits<double>::infinity();
  EXPECT_NEAR(arrival_times(4, options)[0], 0.1, 1e-12);
  EXPECT_EQ(arrival_times(0, options).size(), 0U);
}

TEST(ServeBenchmark, RejectsOptionsOutOfRange) {
  FakeServer server;
  HttpClient client = server.client();
  const auto refused = [&](const std::function<void(ServeBenchmarkOptions&)>& change) {
    ServeBenchmarkOptions options;
    change(options);
    EXPECT_THROW(run_serve_benchmark(client, prompts(1), options, {}), Error);
  };
  refused([](ServeBenchmarkOptions& o) { o.request_rate = 0; });
  refused([](ServeBenchmarkOptions& o) { o.burstiness = -1; });
  refused([](ServeBenchmarkOptions& o) { o.max_concurrency = 0; });
  refused([](ServeBenchmarkOptions& o) { o.endpoint = "v1"; });
  EXPECT_THROW(run_serve_benchmark(client, {}, {}, {}), Error);
}

TEST(ServeReport, HasVllmsKeysAndNumbers) {
  ServeRun run;
  run.duration = 2;
  run.outcomes.push_back({"", 0, 0.5, 0.1, 0.5, {0.2, 0.2}, 10, 5, "x"});
  run.outcomes.push_back({"", 1, 0, 0.3, 0.9, {0.6}, 20, 3, "y"});
  run.outcomes.push_back({"refused", 0, 0, 0, 0, {}, 20, 0, ""});
  run.speculation = SpeculationCounts{10, 20, 15, {9, 6}};
  ServeReportOptions report;
  report.metrics = {"ttft", "tpot", "itl", "e2el", "client_queue_time", "e2el_including_client_queue"};
  report.percentiles = {50, 99.9};
  report.goodput = {{"ttft", 200}, {"e2el", 600}};
  const auto json = serve_report_json(run, {}, report);
  EXPECT_EQ(json["completed"], 2);
  EXPECT_EQ(json["failed"], 1);
  EXPECT_EQ(json["total_input_tokens"], 30);
  EXPECT_EQ(json["total_output_tokens"], 8);
  EXPECT_DOUBLE_EQ(json["request_throughput"].get<double>(), 1);
  EXPECT_DOUBLE_EQ(json["request_goodput"].get<double>(), 0.5);
  EXPECT_DOUBLE_EQ(json["output_throughput"].get<double>(), 4);
  EXPECT_DOUBLE_EQ(json["total_token_throughput"].get<double>(), 19);
  EXPECT_DOUBLE_EQ(json["mean_ttft_ms"].get<double>(), 200);
  EXPECT_DOUBLE_EQ(json["mean_tpot_ms"].get<double>(), 200);
  EXPECT_DOUBLE_EQ(json["median_itl_ms"].get<double>(), 200);
  EXPECT_DOUBLE_EQ(json["mean_e2el_ms"].get<double>(), 700);
  EXPECT_DOUBLE_EQ(json["std_ttft_ms"].get<double>(), 100);
  EXPECT_DOUBLE_EQ(json["p50_ttft_ms"].get<double>(), 200);
  EXPECT_NEAR(json["p99.9_ttft_ms"].get<double>(), 299.8, 1e-9);
  EXPECT_DOUBLE_EQ(json["mean_e2el_including_client_queue_ms"].get<double>(), 950);
  EXPECT_DOUBLE_EQ(json["spec_decode_acceptance_rate"].get<double>(), 75);
  EXPECT_DOUBLE_EQ(json["spec_decode_acceptance_length"].get<double>(), 2.5);
  EXPECT_EQ(json["spec_decode_num_drafts"], 10);
  EXPECT_EQ(json["spec_decode_per_position_acceptance_rates"].dump(), "[0.9,0.6]");
  EXPECT_EQ(json["max_concurrent_requests"], 1);
  EXPECT_FALSE(json.contains("itls"));
  report.detailed = true;
  const auto detailed = serve_report_json(run, {}, report);
  EXPECT_EQ(detailed["itls"].size(), 3U);
  EXPECT_EQ(detailed["errors"][2], "refused");

  EXPECT_THAT(serve_report_text(run, {}, report), HasSubstr("Acceptance rate (%):                     75.00"));
  report.metrics = {"speed"};
  EXPECT_THROW(validate(report), Error);
}

TEST(ServeReport, WithoutSuccessfulRequestsHasNoNan) {
  ServeRun run;
  run.outcomes.push_back({"refused", 0, 0, 0, 0, {}, 0, 0, ""});
  const auto json = serve_report_json(run, {}, {});
  EXPECT_EQ(json["output_throughput"], 0.0);
  EXPECT_EQ(json["p99_ttft_ms"], 0.0);
  EXPECT_FALSE(json.contains("spec_decode_num_drafts"));
}

}  // namespace
}  // namespace outrider
