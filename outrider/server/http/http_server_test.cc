// Tests of the HTTP server over real sockets.

#include "outrider/server/http/http_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include "outrider/util/error.h"

namespace outrider {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::chrono::seconds kLong{30};  // enough on any machine

class Client {
 public:
  explicit Client(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval timeout = {30, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) close_now();
  }
  ~Client() { close_now(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool connected() const { return socket_ >= 0; }
  void send(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  // Reads up to `mark` or the end.
  std::string read_until(std::string_view mark) {
    while (buffer_.find(mark) == std::string::npos) {
      std::array<char, 4096> piece{};
      const ssize_t got = recv(socket_, piece.data(), piece.size(), 0);
      if (got <= 0) return std::exchange(buffer_, {});
      buffer_.append(piece.data(), static_cast<std::size_t>(got));
    }
    std::string text = buffer_.substr(0, buffer_.find(mark) + mark.size());
    buffer_.erase(0, text.size());
    return text;
  }
  std::string read_all() { return read_until("\xFF\xFF never \xFF\xFF"); }
  // Waits for the server to close the connection; false if it sends something, or does nothing for long.
  bool ends() const {
    char byte = 0;
    return recv(socket_, &byte, 1, 0) == 0;
  }
  void close_now() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }

 private:
  int socket_;
  std::string buffer_;
};

HttpOptions options() {
  HttpOptions options;
  options.port = 0;
  options.max_body = 1000;
  options.max_header = 2000;
  return options;
}

void echo(const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder) {
  responder->send({200, "text/plain", request.method + " " + request.path + " [" + request.body + "]", {}});
}

TEST(HttpServer, AnswersOneRequestAfterAnother) {
  HttpServer server(options(), {.handle = echo});
  Client client(server.port());
  for (int i = 0; i < 3; ++i) {
    client.send("POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe");
    client.send("llo");
    const std::string answer = client.read_until("]");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_THAT(answer, HasSubstr("Connection: keep-alive\r\n"));
    EXPECT_THAT(answer, EndsWith("\r\n\r\nPOST /a [hello]"));
  }
  // Two requests in one write.
  client.send("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(client.read_until("]"), EndsWith("GET /1 []"));
  EXPECT_THAT(client.read_all(), EndsWith("Connection: close\r\nContent-Length: 9\r\n\r\nGET /2 []"));
}

TEST(HttpServer, AnswersHttp10AndHeadRequests) {
  HttpServer server(options(), {.handle = echo});
  Client old(server.port());
  old.send("GET /old HTTP/1.0\r\n\r\n");
  EXPECT_THAT(old.read_all(), EndsWith("GET /old []"));
  Client head(server.port());
  head.send("HEAD /h HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(head.read_all(), EndsWith("Content-Length: 9\r\n\r\n"));
}

TEST(HttpServer, AnswersExpect100Continue) {
  HttpServer server(options(), {.handle = echo});
  Client client(server.port());
  client.send("POST /a HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("hi");
  EXPECT_THAT(client.read_until("]"), EndsWith("[hi]"));
}

TEST(HttpServer, RejectsOversizedAndMalformedRequests) {
  HttpServer server(options(), {.handle = echo});
  const auto answer = [&](const std::string& request) {
    Client client(server.port());
    client.send(request);
    return client.read_all();
  };
  EXPECT_THAT(answer("POST /a HTTP/1.1\r\nContent-Length: 1001\r\n\r\n"), StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(answer("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + std::string(2000, 'x') +
                     "\r\n0\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(answer("GET /a HTTP/1.1\r\nX: " + std::string(5000, 'x') + "\r\n\r\n"), StartsWith("HTTP/1.1 431 "));
  // The line of a chunk and what follows the last one, which have no end.
  const std::string chunked = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const char* begun : {"1;", "0\r\nX: "}) {
    EXPECT_THAT(answer(chunked + begun + std::string(500'000, 'x')), StartsWith("HTTP/1.1 400 ")) << begun;
  }
  const std::string nonsense = answer("what is this\r\n\r\n");
  EXPECT_THAT(nonsense, StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(nonsense, HasSubstr("{\"error\":{"));
}

TEST(HttpServer, DisconnectsSlowClients) {
  HttpOptions impatient = options();
  impatient.read_timeout = 1;
  HttpServer server(impatient, {.handle = echo});
  for (const char* begun : {"P", "POST /a HTTP/1.1\r\nX: ", "POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nhal"}) {
    Client client(server.port());
    client.send(begun);
    EXPECT_EQ(client.read_all(), "") << begun;
  }
}

TEST(HttpServer, StreamsInChunksOrUntilTheConnectionCloses) {
  HttpServer server(options(), {.handle = [](const HttpRequest&, const std::shared_ptr<HttpResponder>& responder) {
                      responder->begin_stream("text/event-stream");
                      std::thread([responder] {
                        for (const char* piece : {"one ", "two ", ""}) responder->write(piece);
                        responder->end_stream();
                      }).detach();
                    }});
  Client client(server.port());
  for (int i = 0; i < 2; ++i) {
    client.send("GET /s HTTP/1.1\r\n\r\n");
    EXPECT_THAT(client.read_until("0\r\n\r\n"), EndsWith("\r\n\r\n4\r\none \r\n4\r\ntwo \r\n0\r\n\r\n"));
  }
  Client old(server.port());
  old.send("GET /s HTTP/1.0\r\n\r\n");
  EXPECT_THAT(old.read_all(), EndsWith("\r\n\r\none two "));
}

TEST(HttpServer, DetectsThatAWaitingClientDisconnected) {
  std::promise<void> asked;
  std::promise<void> gone;
  std::shared_ptr<HttpResponder> held;
  HttpServer server(options(), {.handle = [&](const HttpRequest&, const std::shared_ptr<HttpResponder>& responder) {
                      held = responder;
                      responder->on_disconnect([&] { gone.set_value(); });
                      asked.set_value();
                    }});
  Client client(server.port());
  client.send("GET /wait HTTP/1.1\r\n\r\n");
  asked.get_future().wait();
  client.close_now();
  EXPECT_EQ(gone.get_future().wait_for(kLong), std::future_status::ready);
  held->send({});  // the client has disconnected
  held.reset();
}

TEST(HttpServer, DetectsADisconnectBehindDataOfAnotherRequest) {
  std::promise<void> asked;
  std::promise<void> gone;
  HttpServer server(options(), {.handle = [&](const HttpRequest&, const std::shared_ptr<HttpResponder>& responder) {
                      responder->on_disconnect([&, responder] { gone.set_value(); });
                      asked.set_value();
                    }});
  Client client(server.port());
  client.send("GET /wait HTTP/1.1\r\n\r\n");
  asked.get_future().wait();
  client.send("\r\n");
  client.close_now();
  EXPECT_EQ(gone.get_future().wait_for(kLong), std::future_status::ready);
}

TEST(HttpServer, DetectsADisconnectBeforeTheCallbackIsSet) {
  std::promise<std::shared_ptr<HttpResponder>> asked;
  HttpOptions one = options();
  one.threads = 1;
  HttpServer server(one, {.handle = [&](const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder) {
                      if (request.path == "/wait") return asked.set_value(responder);
                      echo(request, responder);
                    }});
  Client client(server.port());
  client.send("GET /wait HTTP/1.1\r\n\r\n");
  const std::shared_ptr<HttpResponder> responder = asked.get_future().get();
  client.close_now();
  // The server's only thread has seen the end of one connection when it answers on the next.
  Client next(server.port());
  next.send("GET /next HTTP/1.1\r\n\r\n");
  EXPECT_THAT(next.read_until("]"), EndsWith("GET /next []"));
  std::promise<void> gone;
  responder->on_disconnect([&] { gone.set_value(); });
  EXPECT_EQ(gone.get_future().wait_for(kLong), std::future_status::ready);
}

TEST(HttpServer, WorkAsideDelaysNoOtherRequest) {
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  HttpServer server(options(),
                    {.handle = [&](const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder) {
                      if (request.path == "/quick") return echo(request, responder);
                      responder->run_aside([request, responder, released] {
                        released.wait();
                        echo(request, responder);
                      });
                    }});
  std::vector<std::unique_ptr<Client>> slow;
  for (int i = 0; i < 4; ++i) {
    slow.push_back(std::make_unique<Client>(server.port()));
    slow.back()->send("GET /slow HTTP/1.1\r\n\r\n");
  }
  Client client(server.port());
  client.send("GET /quick HTTP/1.1\r\n\r\n");
  EXPECT_THAT(client.read_until("]"), EndsWith("GET /quick []"));
  release.set_value();
  for (const auto& each : slow) EXPECT_THAT(each->read_until("]"), EndsWith("GET /slow []"));
}

TEST(HttpServer, DropsQueuedWorkAtShutdown) {
  std::promise<void> release;
  std::promise<void> queued;
  const auto work_alive = std::make_shared<int>();
  {
    HttpOptions one = options();
    one.threads_aside = 1;
    HttpServer server(one, {.handle = [&, alive = work_alive](const HttpRequest& request,
                                                              const std::shared_ptr<HttpResponder>& responder) {
                        if (request.path == "/first") {
                          responder->run_aside([responder, alive, &release] { release.get_future().wait(); });
                          return;
                        }
                        for (int i = 0; i < 1000; ++i) responder->run_aside([responder, alive] {});
                        queued.set_value();
                      }});
    Client client(server.port());
    client.send("GET /first HTTP/1.1\r\n\r\n");
    Client waiting(server.port());
    waiting.send("GET /second HTTP/1.1\r\n\r\n");
    queued.get_future().wait();
    release.set_value();
  }
  EXPECT_EQ(work_alive.use_count(), 1);
}

TEST(HttpServer, DecodesPaths) {
  HttpServer server(options(), {.handle = echo});
  Client client(server.port());
  const auto path = [&](const char* target) {
    client.send(std::string("GET ") + target + " HTTP/1.1\r\n\r\n");
    client.read_until("GET ");
    return client.read_until("]");
  };
  EXPECT_EQ(path("/v1/models/a%2Fb%20c?d=%41"), "/v1/models/a/b c []");
  EXPECT_EQ(path("/100%"), "/100% []");
  EXPECT_EQ(path("/%4"), "/%4 []");
  EXPECT_EQ(path("/%zz"), "/%zz []");
  EXPECT_EQ(path("http://somewhere:80/health"), "/health []");
  EXPECT_EQ(path("http://somewhere"), "/ []");
}

TEST(HttpServer, ADroppedRequestIsAnsweredWith500) {
  HttpServer server(options(), {.handle = [](const HttpRequest&, const std::shared_ptr<HttpResponder>&) {}});
  Client client(server.port());
  client.send("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(client.read_all(), StartsWith("HTTP/1.1 500 "));
}

TEST(HttpServer, ShutdownLetsResponsesFinish) {
  std::promise<std::shared_ptr<HttpResponder>> asked;
  HttpServer server(options(), {.handle = [&](const HttpRequest&, const std::shared_ptr<HttpResponder>& responder) {
                      asked.set_value(responder);
                    }});
  Client idle(server.port());
  Client waiting(server.port());
  waiting.send("GET /wait HTTP/1.1\r\n\r\n");
  std::shared_ptr<HttpResponder> responder = asked.get_future().get();
  server.shut_down();
  EXPECT_EQ(idle.read_all(), "");
  EXPECT_FALSE(server.wait_closed(10));
  responder->send({200, "text/plain", "done", {}});
  responder.reset();
  EXPECT_THAT(waiting.read_all(), EndsWith("done"));
  waiting.close_now();
  EXPECT_TRUE(server.wait_closed(30000));
  EXPECT_FALSE(Client(server.port()).connected());
}

TEST(HttpServer, ServesBesideAThousandIdleConnections) {
  HttpServer server(options(), {.handle = echo});
  std::vector<std::unique_ptr<Client>> idle;
  for (int i = 0; i < 900; ++i) {
    idle.push_back(std::make_unique<Client>(server.port()));
    if (!idle.back()->connected()) GTEST_SKIP() << "this system allows only " << i << " connections";
  }
  Client client(server.port());
  client.send("GET /a HTTP/1.1\r\n\r\n");
  EXPECT_THAT(client.read_until("]"), EndsWith("GET /a []"));
}

TEST(HttpServer, AnAddressInUseIsAnError) {
  HttpServer server(options(), {.handle = echo});
  HttpOptions same = options();
  same.port = server.port();
  EXPECT_THROW(HttpServer(same, {.handle = echo}), Error);
  same.host = "256.0.0.1";
  EXPECT_THROW(HttpServer(same, {.handle = echo}), Error);
}

TEST(HttpServer, RefusesByTheHeaderBeforeTheBodyArrives) {
  HttpServer server(
      options(),
      {.handle = echo, .admit = [](const HttpRequest& header) {
         return header.path == "/no" ? std::optional(HttpResponse{401, "text/plain", "no", {}}) : std::nullopt;
       }});
  Client client(server.port());
  client.send("POST /no HTTP/1.1\r\nContent-Length: 900\r\n\r\n");
  EXPECT_THAT(client.read_all(), StartsWith("HTTP/1.1 401 Unauthorized\r\n"));
  Client without_body(server.port());
  without_body.send("GET /no HTTP/1.1\r\n\r\nGET /yes HTTP/1.1\r\n\r\n");  // the connection stays
  EXPECT_THAT(without_body.read_until("[]"), EndsWith("GET /yes []"));
}

TEST(HttpServer, BodiesThatDoNotArriveTakeNoMemory) {
  HttpOptions small = options();
  small.max_pending_bodies = 1000;
  HttpServer server(small, {.handle = echo});
  std::vector<std::unique_ptr<Client>> stalled;
  for (int i = 0; i < 20; ++i) {  // each announces all there is
    stalled.push_back(std::make_unique<Client>(server.port()));
    stalled.back()->send("POST /a HTTP/1.1\r\nContent-Length: 1000\r\n\r\n");
  }
  const std::string_view request = "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
  Client client(server.port());
  client.send(request);
  EXPECT_THAT(client.read_until("]"), EndsWith("[hello]"));

  client.send("POST /a HTTP/1.1\r\nContent-Length: 900\r\n\r\n" + std::string(900, 'y'));
  EXPECT_THAT(client.read_until("]"), EndsWith("yyy]"));
}

TEST(HttpServer, ANewConnectionReplacesTheOneThatWaitedLongest) {
  HttpOptions few = options();
  few.max_connections = 3;
  std::atomic<int> refused = 0;
  std::vector<std::shared_ptr<HttpResponder>> unanswered;
  std::mutex mutex;
  HttpServer server(few, {.handle =
                              [&](const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder) {
                                if (request.path != "/later") return echo(request, responder);
                                const std::lock_guard lock(mutex);
                                unanswered.push_back(responder);
                              },
                          .on_refused =
                              [&](std::size_t connections) {
                                EXPECT_EQ(connections, 3);
                                ++refused;
                              }});
  const auto ask = [](Client& client) {
    client.send("GET /a HTTP/1.1\r\n\r\n");
    return client.read_until("]");
  };
  Client first(server.port());
  EXPECT_THAT(ask(first), EndsWith("[]"));
  Client header_incomplete(server.port());
  header_incomplete.send("GET /a HTT");
  Client third(server.port());
  EXPECT_THAT(ask(third), EndsWith("[]"));
  EXPECT_THAT(ask(first), EndsWith("[]"));  // now the second has waited longest
  Client fourth(server.port());
  EXPECT_THAT(ask(fourth), EndsWith("[]"));
  EXPECT_EQ(header_incomplete.read_all(), "");
  EXPECT_THAT(ask(first), EndsWith("[]"));

  for (Client* client : {&first, &third, &fourth}) client->send("GET /later HTTP/1.1\r\n\r\n");
  for (bool all = false; !all; std::this_thread::yield()) {
    const std::lock_guard lock(mutex);
    all = unanswered.size() == 3;
  }
  Client fifth(server.port());
  EXPECT_THAT(fifth.read_all(), StartsWith("HTTP/1.1 503 Service Unavailable\r\n"));
  EXPECT_EQ(refused, 1);
  {
    const std::lock_guard lock(mutex);
    unanswered.clear();
  }
  EXPECT_THAT(first.read_until("response"), StartsWith("HTTP/1.1 500 "));
}

TEST(HttpServer, ANewConnectionReplacesOneThatDoesNotReadItsResponse) {
  HttpOptions few = options();
  few.max_connections = 2;
  std::promise<void> answered;
  HttpServer server(few, {.handle =
                              [](const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder) {
                                if (request.path != "/large") return echo(request, responder);
                                responder->send({200, "text/plain", std::string(std::size_t{32} << 20, 'x'), {}});
                              },
                          .on_answered =
                              [&](const HttpExchange& exchange) {
                                if (exchange.path == "/a") answered.set_value();
                              }});
  std::array<std::unique_ptr<Client>, 2> lazy;
  for (auto& client : lazy) {
    client = std::make_unique<Client>(server.port());
    client->send("GET /large HTTP/1.1\r\n\r\n");
    EXPECT_THAT(client->read_until("\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
  }
  Client other(server.port());
  other.send("GET /a HTTP/1.1\r\n\r\n");
  EXPECT_THAT(other.read_until("]"), EndsWith("GET /a []"));
  // Once it is idle, it is replaced before the other one that does not read, which has waited longer.
  answered.get_future().wait();
  Client next(server.port());
  next.send("GET /b HTTP/1.1\r\n\r\n");
  EXPECT_THAT(next.read_until("]"), EndsWith("GET /b []"));
  EXPECT_TRUE(other.ends());
}

TEST(HttpServer, LivesOnWithoutMemory) {
  HttpServer server(options(),
                    {.handle = [](const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder) {
                      if (request.path == "/throw") throw std::bad_alloc();
                      if (request.path == "/aside")
                        return responder->run_aside([responder] { throw std::bad_alloc(); });
                      echo(request, responder);
                    }});
  for (const char* path : {"/throw", "/aside", "/throw", "/throw"}) {
    Client client(server.port());
    client.send(fmt::format("GET {} HTTP/1.1\r\n\r\n", path));
    // 500 if the thread that threw was not the last to hold the responder.
    EXPECT_THAT(client.read_until("}}"), StartsWith("HTTP/1.1 50")) << path;
  }
  Client client(server.port());
  client.send("GET /a HTTP/1.1\r\n\r\n");
  EXPECT_THAT(client.read_until("]"), EndsWith("GET /a []"));
}

TEST(HttpServer, TellsOfEachExchangeOnce) {
  std::mutex mutex;
  std::vector<std::string> told;
  std::shared_ptr<HttpResponder> held;
  {
    HttpServer server(
        options(),
        {.handle =
             [&](const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder) {
               if (request.path == "/hold") {
                 const std::lock_guard lock(mutex);
                 held = responder;
                 return;
               }
               if (request.path != "/stream") return echo(request, responder);
               responder->begin_stream("text/plain");
               responder->write("one ");
               responder->write("two");
               responder->end_stream();
             },
         .admit =
             [](const HttpRequest& header) {
               return header.path == "/no" ? std::optional(HttpResponse{401, "text/plain", "no", {}}) : std::nullopt;
             },
         .on_answered =
             [&](const HttpExchange& exchange) {
               EXPECT_GT(exchange.seconds, 0);
               EXPECT_LT(exchange.seconds, 30);
               const std::lock_guard lock(mutex);
               told.push_back(fmt::format("{} {} {} {} {}", exchange.method, exchange.path, exchange.status,
                                          exchange.request_bytes, exchange.response_bytes));
             }});
    const auto wait = [&](std::size_t count) {
      for (bool enough = false; !enough; std::this_thread::yield()) {
        const std::lock_guard lock(mutex);
        enough = told.size() >= count;
      }
    };
    Client client(server.port());
    client.send(
        "POST /a?b HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /stream HTTP/1.1\r\n\r\nHEAD /h HTTP/1.1\r\n\r\n");
    wait(3);
    Client(server.port()).send("GET /no HTTP/1.1\r\n\r\n");
    wait(4);
    Client(server.port()).send("nonsense\r\n\r\n");
    wait(5);
    auto leaves = std::make_unique<Client>(server.port());
    leaves->send("POST /hold HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
    for (bool arrived = false; !arrived; std::this_thread::yield()) {
      const std::lock_guard lock(mutex);
      arrived = held != nullptr;
    }
    leaves.reset();
    wait(6);
    held.reset();
    Client idle(server.port());  // nothing to tell
  }
  EXPECT_THAT(told, ::testing::ElementsAre("POST /a 200 2 12", "GET /stream 200 0 7", "HEAD /h 200 0 0",
                                           "GET /no 401 0 2", HasSubstr("  400 0 "), "POST /hold 499 3 0"));
}

TEST(HttpServer, TellsThatTheClientIsGone) {
  std::promise<std::stop_token> asked;
  std::promise<void> ran;
  std::shared_ptr<HttpResponder> held;
  HttpServer server(options(), {.handle = [&](const HttpRequest& request, std::shared_ptr<HttpResponder> responder) {
                      held = std::move(responder);
                      asked.set_value(request.gone);
                    }});
  auto client = std::make_unique<Client>(server.port());
  client->send("GET /a HTTP/1.1\r\n\r\n");
  const std::stop_token gone = asked.get_future().get();
  EXPECT_FALSE(gone.stop_requested());
  client.reset();
  while (!gone.stop_requested()) std::this_thread::yield();
  held->run_aside([] { FAIL() << "nobody wants it"; });
  held.reset();
}

}  // namespace
}  // namespace outrider
