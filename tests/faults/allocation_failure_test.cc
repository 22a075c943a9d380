// Lets allocations of a running server fail, one after the other, over the whole course of requests of every kind. What
// a failure may do is end one request; the others are answered as ever, and nothing is left over.
//
// OUTRIDER_LONG_TESTS=1 tries every place that allocates, instead of a part of them.

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <future>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "outrider/server/server.h"
#include "outrider/testing/bundled_model.h"
#include "tests/faults/failing_allocator.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;
using testing::bundled_tokenizer;

struct Answer {
  unsigned status = 0;  // 0: the connection was closed
  std::string body;     // of a stream, with the sizes of its chunks
  bool complete = false;
};

class Client {
 public:
  explicit Client(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval timeout = {60, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    EXPECT_EQ(connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  ~Client() { ::close(socket_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void send(const std::string& path, const std::string& body) const {
    const std::string request =
        body.empty() ? fmt::format("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
                     : fmt::format(
                           "POST {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
                           "Content-Length: {}\r\n\r\n{}",
                           path, body.size(), body);
    static_cast<void>(::send(socket_, request.data(), request.size(), MSG_NOSIGNAL));
  }
  // Reads until the text has come, or to the end.
  std::string read(const std::string& until = "\xFF never") const {
    std::string all;
    std::array<char, 4096> piece{};
    while (all.find(until) == std::string::npos) {
      const ssize_t got = recv(socket_, piece.data(), piece.size(), 0);
      if (got < 0 && errno == EAGAIN) ADD_FAILURE() << "no answer for a minute; so far: " << all;
      if (got <= 0) break;
      all.append(piece.data(), static_cast<std::size_t>(got));
    }
    return all;
  }
  Answer answer() const {
    const std::string all = read();
    const std::size_t head = all.find("\r\n\r\n");
    if (head == std::string::npos) return {};
    Answer answer = {static_cast<unsigned>(std::stoul(all.substr(9, 3))), all.substr(head + 4), false};
    if (const std::size_t at = all.find("Content-Length: "); at < head) {
      answer.complete = answer.body.size() == std::stoul(all.substr(at + 16));
    } else {
      answer.complete = answer.body.ends_with("0\r\n\r\n");
    }
    return answer;
  }

 private:
  int socket_;
};

// The parts of an answer that do not change from one to the next: the choices, whole or from the events of a stream.
std::string contents(const Answer& answer) {
  const auto without_ids = [](ordered_json choices) {
    for (ordered_json& choice : choices) {
      for (const char* part : {"message", "delta"}) {
        if (!choice.contains(part) || !choice[part].contains("tool_calls")) continue;
        for (ordered_json& call : choice[part]["tool_calls"]) call.erase("id");
      }
    }
    return choices.dump();
  };
  if (answer.body.starts_with("{")) {
    const ordered_json object = ordered_json::parse(answer.body);
    return object.contains("choices") ? without_ids(object["choices"]) : answer.body;
  }
  std::map<int, std::string> texts;  // steps of choices interleave as it happens
  for (std::size_t at = 0; (at = answer.body.find("data: {", at)) != std::string::npos; at += 6) {
    const ordered_json event = ordered_json::parse(answer.body.substr(at + 6, answer.body.find('\n', at) - at - 6));
    if (event.contains("error")) return "error";
    for (const ordered_json& choice : event["choices"]) {
      const ordered_json& delta = choice.contains("delta") ? choice["delta"] : choice;
      for (const char* part : {"text", "reasoning_content", "content"}) {
        if (delta.contains(part)) texts[choice["index"]] += delta[part].get<std::string>();
      }
      if (delta.contains("tool_calls")) texts[choice["index"]] += without_ids({choice});
    }
  }
  return ordered_json(texts).dump();
}

bool out_of_memory(const Answer& answer) {
  return answer.body.find("There is not enough memory for this request now.") != std::string::npos &&
         (answer.status == 503 || (answer.status == 200 && answer.body.find("[DONE]") != std::string::npos));
}

struct Kind {
  const char* name;
  std::string path;
  std::string body;      // empty: GET
  bool leaves = false;   // the client leaves after the first event
  bool changes = false;  // the answer is another each time
};

std::vector<Kind> kinds() {
  const std::string tools =
      R"("tools":[{"type":"function","function":{"name":"find","parameters":{"type":"object","properties":)"
      R"({"verse":{"type":"integer","minimum":1,"maximum":9}},"required":["verse"]}}}])";
  return {
      {"completion", "/v1/completions",
       R"({"prompt":"In the beginning God created","max_tokens":6,"temperature":0,"logprobs":2,"stop":["heavens"]})"},
      {"streamed completion, two choices", "/v1/completions",
       R"({"prompt":"Genesis 11\n\n","max_tokens":6,"temperature":0.7,"seed":7,"n":2,"stream":true,)"
       R"("stream_options":{"include_usage":true},"presence_penalty":0.5})"},
      {"chat with tools", "/v1/chat/completions",
       R"({"messages":[{"role":"user","content":"Which verse?"}],"max_tokens":60,"temperature":0,"tool_choice":)"
       R"("required",)" +
           tools + "}"},
      {"streamed chat with a schema", "/v1/chat/completions",
       R"({"messages":[{"role":"user","content":"Who?"}],"max_tokens":24,"temperature":0,"stream":true,)"
       R"("response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object","properties":)"
       R"({"name":{"enum":["Abram","Sarai"]}},"required":["name"],"additionalProperties":false}}}})"},
      {"cancelled stream", "/v1/completions",
       R"({"prompt":"Genesis 2\n\n","max_tokens":100,"temperature":0,"stream":true,"ignore_eos":true})", true},
      {"echo with logprobs", "/v1/completions",
       R"({"prompt":"And God said","max_tokens":2,"temperature":0,"echo":true,"logprobs":1})"},
      {"tokenize", "/tokenize", R"({"prompt":"And God said, Let there be light","return_token_strs":true})"},
      {"refused", "/v1/completions", R"({"prompt":"x","max_tokens":-1})"},
      {"metrics", "/metrics", "", false, true},
      {"models", "/v1/models", ""},
  };
}

class AllocationFailure : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    model_ = testing::load_bundled_model();
    null_ = open("/dev/null", O_WRONLY | O_CLOEXEC);
    log_ = std::make_unique<Log>(LogFormat::kText, null_);
    ServerOptions options;
    options.http.port = 0;
    options.api.model_names = {"kjv"};
    options.api.defaults.max_model_len = 1024;
    options.api.defaults.end_tokens = {*bundled_tokenizer().eos_id()};
    options.engine.max_model_len = 1024;
    options.engine.max_num_seqs = 3;  // a sequence that is lost is missed soon
    options.engine.max_num_batched_tokens = 16;
    options.engine.speculative_config.num_speculative_tokens = 2;
    server_ = std::make_unique<Server>(*model_, bundled_tokenizer(), options, *log_);
  }
  static void TearDownTestSuite() {
    server_.reset();
    log_.reset();
    model_.reset();
    close(null_);
  }

  static Answer ask(const Kind& kind) {
    const Client client(server_->port());
    client.send(kind.path, kind.body);
    if (!kind.leaves) return client.answer();
    client.read("data: ");
    return {};
  }
  static std::string metric(const std::string& name) {
    const std::string all = ask({"", "/metrics", ""}).body;
    const std::size_t at = all.find("\nvllm:" + name + "{");
    if (at == std::string::npos) return "absent";
    const std::size_t value = all.find("} ", at) + 2;
    return all.substr(value, all.find('\n', value) - value);
  }
  // Waits until nothing runs or waits; returns whether that happened.
  static bool idle() {
    for (int i = 0; i < 2000; ++i) {
      if (metric("num_requests_running") == "0.0" && metric("num_requests_waiting") == "0.0") return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  static std::unique_ptr<const Model> model_;
  static int null_;
  static std::unique_ptr<Log> log_;
  static std::unique_ptr<Server> server_;
  const testing::Exempt exempt_;
};
std::unique_ptr<const Model> AllocationFailure::model_;
int AllocationFailure::null_ = -1;
std::unique_ptr<Log> AllocationFailure::log_;
std::unique_ptr<Server> AllocationFailure::server_;

bool long_test() {
  return std::getenv("OUTRIDER_LONG_TESTS") != nullptr;
}

// Every `step`th of the places that allocate.
std::vector<std::size_t> some(const std::vector<std::size_t>& places, std::size_t most) {
  if (long_test() || places.size() <= most) return places;
  std::vector<std::size_t> chosen;
  for (std::size_t i = 0; i < most; ++i) chosen.push_back(places[i * places.size() / most]);
  return chosen;
}

TEST_F(AllocationFailure, EndsNoMoreThanItsRequest) {
  std::size_t points = 0;
  std::size_t ended = 0;
  for (const Kind& kind : kinds()) {
    const std::string expected = contents(ask(kind));
    ASSERT_TRUE(idle());
    testing::record_allocations();
    ask(kind);
    ASSERT_TRUE(idle());
    const testing::Allocations recorded = testing::end_failures();
    std::size_t refused = 0;
    std::size_t closed = 0;
    const std::vector<std::size_t> chosen = some(recorded.first_of_place, 8);
    for (const std::size_t n : chosen) {
      SCOPED_TRACE(fmt::format("{}: allocation {} of {}", kind.name, n, recorded.made));
      testing::fail_allocations(n);
      const Answer answer = ask(kind);
      testing::end_failures();
      if (kind.leaves || answer.status == 0 || !answer.complete) {
        closed += kind.leaves ? 0 : 1;
      } else if (out_of_memory(answer)) {
        ++refused;
      } else if (!kind.changes) {
        EXPECT_EQ(contents(answer), expected);
      }
      ASSERT_TRUE(idle());
      if (!kind.changes && !kind.leaves) {
        ASSERT_EQ(contents(ask(kind)), expected);
      }
    }
    points += chosen.size();
    ended += refused + closed;
    fmt::print(
        "{}: {} allocations at {} places; {} failures: {} requests ended with the reason, {} connections closed\n",
        kind.name, recorded.made, recorded.first_of_place.size(), chosen.size(), refused, closed);
  }
  fmt::print("{} allocation failures, {} requests ended by them\n", points, ended);
}

// The failure hits one of three requests that run together, or what they share.
TEST_F(AllocationFailure, LeavesOtherRequestsAlone) {
  const std::vector<Kind> all = kinds();
  const std::vector<Kind> together = {all[0], all[2], all[3]};
  std::vector<std::string> expected;
  for (const Kind& kind : together) expected.push_back(contents(ask(kind)));
  const auto run = [&] {
    std::vector<std::future<Answer>> running;
    for (const Kind& kind : together) {
      running.push_back(std::async(std::launch::async, [&kind] {
        const testing::Exempt exempt;
        return ask(kind);
      }));
    }
    std::vector<Answer> answers;
    for (auto& each : running) answers.push_back(each.get());
    return answers;
  };
  testing::fail_allocations(0);
  run();
  const std::size_t allocations = testing::end_failures().made;
  const std::size_t most = long_test() ? 2000 : 12;
  std::size_t ended = 0;
  for (std::size_t i = 0; i < most; ++i) {
    SCOPED_TRACE(fmt::format("failure {} of {}", i, most));
    testing::fail_allocations(1 + i * allocations / most);
    const std::vector<Answer> answers = run();
    const std::size_t failed = testing::end_failures().failed;
    std::size_t lost = 0;
    for (std::size_t k = 0; k < answers.size(); ++k) {
      const bool broken = !answers[k].complete || out_of_memory(answers[k]);
      if (!broken) {
        EXPECT_EQ(contents(answers[k]), expected[k]);
      }
      lost += broken ? 1 : 0;
    }
    EXPECT_LE(lost, failed);
    ended += lost;
    ASSERT_TRUE(idle());
  }
  fmt::print("{} allocation failures among three requests, {} of which ended\n", most, ended);
}

// Where nothing can be allocated for a while, requests end as best they can, and the server goes on afterwards.
TEST_F(AllocationFailure, SurvivesWithoutAnyMemory) {
  for (const Kind& kind : kinds()) {
    const std::string expected = contents(ask(kind));
    testing::fail_allocations(0);
    ask(kind);
    ASSERT_TRUE(idle());
    const std::size_t allocations = testing::end_failures().made;
    const std::size_t most = long_test() ? 200 : 1;
    for (std::size_t i = 0; i < most; ++i) {
      for (const std::size_t count : {3U, 50U, 2000U}) {
        SCOPED_TRACE(fmt::format("{}: {} allocations fail from {} on", kind.name, count, 1 + i * allocations / most));
        testing::fail_allocations(1 + i * allocations / most, count);
        ask(kind);
        testing::end_failures();
        ASSERT_TRUE(idle());
        if (!kind.changes && !kind.leaves) {
          ASSERT_EQ(contents(ask(kind)), expected);
        }
      }
    }
  }
}

}  // namespace
}  // namespace outrider
