#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace outrider {

struct HttpRequest {
  std::string method;
  std::string path;  // decoded, without the query
  std::string content_type;
  std::string authorization;
  std::string body;
  std::string client;  // address and port
};

struct HttpResponse {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::string headers;  // more of them, each ended by \r\n
};

// Where the answer to one request goes: one whole response, or a stream of pieces. May be used from any thread; what is
// sent to a client that has gone is dropped. Let go of without an answer, it answers 500.
class HttpResponder {
 public:
  virtual ~HttpResponder() = default;

  virtual void send(HttpResponse response) = 0;

  virtual void begin_stream(std::string content_type) = 0;
  virtual void write(std::string piece) = 0;
  virtual void end_stream() = 0;

  // Runs `work` on the connection's own strand: one after the other, in order.
  virtual void post(std::function<void()> work) = 0;
  // Runs `work` on a thread that may take its time, beside the strand. It must not throw.
  virtual void run_aside(std::function<void()> work) = 0;
  // `work` runs on the strand if the client goes away before the answer is complete, or has gone already.
  virtual void on_disconnect(std::function<void()> work) = 0;
};

// Runs on the connection's strand; must not throw.
using HttpHandler = std::function<void(HttpRequest request, std::shared_ptr<HttpResponder> responder)>;

struct HttpOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8000;  // 0: one that is free
  unsigned threads = 2;
  unsigned threads_aside = 4;                      // of HttpResponder::run_aside
  std::size_t max_header = std::size_t{64} << 10;  // bytes
  std::size_t max_body = std::size_t{32} << 20;
  unsigned read_timeout = 60;   // seconds for a whole request once it has begun, and for a client to take what is sent
  unsigned idle_timeout = 120;  // between requests
};

// HTTP/1.1 with keep-alive, and HTTP/1.0. Notices when a client goes away while it waits for its answer. Requests that
// are no HTTP or too large are answered here (400, 413, 431) with an error object as the API has them.
class HttpServer {
 public:
  // Listens at once. Throws Error where the address cannot be had.
  HttpServer(HttpOptions options, HttpHandler handler);
  ~HttpServer();  // closes everything
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::uint16_t port() const;
  std::size_t connections() const;
  // Takes no more connections, closes those that are idle, and the others when they are answered.
  void shut_down();
  // Whether the last connection closed within the time.
  bool wait_closed(unsigned milliseconds);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace outrider
