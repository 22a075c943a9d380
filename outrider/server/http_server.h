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
  std::string headers;  // further headers, each ended by \r\n
};

// Sends the response to one request: one whole response, or a stream of pieces. May be used from any thread; what is
// sent after a disconnect is dropped. Destroyed without a response, it sends 500.
class HttpResponder {
 public:
  virtual ~HttpResponder() = default;

  virtual void send(HttpResponse response) = 0;

  virtual void begin_stream(std::string content_type) = 0;
  virtual void write(std::string piece) = 0;
  virtual void end_stream() = 0;

  // Runs `work` on the connection's strand; calls run in order, one at a time.
  virtual void post(std::function<void()> work) = 0;
  // Runs `work` on a pool thread, where it may block. It must not throw.
  virtual void run_aside(std::function<void()> work) = 0;
  // Runs `work` on the strand if the client disconnects before the response is complete, or has done so already.
  virtual void on_disconnect(std::function<void()> work) = 0;
};

// Runs on the connection's strand; must not throw.
using HttpHandler = std::function<void(HttpRequest request, std::shared_ptr<HttpResponder> responder)>;

struct HttpOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8000;  // 0: any free port
  unsigned threads = 2;
  unsigned threads_aside = 4;                      // for HttpResponder::run_aside
  std::size_t max_header = std::size_t{64} << 10;  // bytes
  std::size_t max_body = std::size_t{32} << 20;
  unsigned read_timeout =
      60;  // seconds to receive a whole request once it has begun, and for a client to accept sent data
  unsigned idle_timeout = 120;  // seconds between requests
};

// HTTP/1.1 with keep-alive, and HTTP/1.0. Detects clients that disconnect while they wait. Answers malformed and
// oversized requests itself (400, 413, 431) with the API's error object.
class HttpServer {
 public:
  // Starts listening. Throws Error if the address cannot be bound.
  HttpServer(HttpOptions options, HttpHandler handler);
  ~HttpServer();  // closes all connections
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::uint16_t port() const;
  std::size_t connections() const;
  // Stops accepting connections; closes idle ones now, the others once they are answered.
  void shut_down();
  // Returns whether the last connection closed within the time.
  bool wait_closed(unsigned milliseconds);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace outrider
