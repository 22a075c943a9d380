#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "outrider/server/http/http_message.h"

namespace outrider {

// They run on the connection's thread and throw only if memory runs out.
struct HttpHandlers {
  // If it throws, the response is 503; so for `admit`.
  std::function<void(HttpRequest request, std::shared_ptr<HttpResponder> responder)> handle;
  // A response if the request is to be refused by its header alone; its body, which has not arrived then, is not read.
  // May be null, as the next two.
  std::function<std::optional<HttpResponse>(const HttpRequest& header)> admit = nullptr;
  // A response was sent, or its client has disconnected before (status 499 if nothing was sent).
  std::function<void(const HttpExchange& exchange)> on_answered = nullptr;
  // A new connection was refused: there are `connections`, and none of them waits for a request. Runs on the thread
  // that accepts connections.
  std::function<void(std::size_t connections)> on_refused = nullptr;
};

struct HttpOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8000;  // 0: any free port
  unsigned threads = 2;
  unsigned threads_aside = 3;                      // for HttpResponder::run_aside, of small requests
  std::size_t max_header = std::size_t{64} << 10;  // bytes
  std::size_t max_body = std::size_t{32} << 20;
  std::size_t max_pending_bodies = std::size_t{256} << 20;  // bytes of all bodies that arrive or wait to be read
  // Connections at once. A further one replaces the one that has waited longest for a request, or is refused.
  std::size_t max_connections = 4096;
  // Seconds to receive a whole request once it has begun, and for a client to accept sent data.
  unsigned read_timeout = 60;
  unsigned idle_timeout = 120;  // seconds between requests
};

// HTTP/1.1 with keep-alive, and HTTP/1.0. Detects clients that disconnect while they wait. Answers malformed and
// oversized requests itself (400, 413, 431), and those for which there is no memory (503), with the API's error object.
// Where there is not even memory for that, the connection is closed.
class HttpServer {
 public:
  // Starts listening. Throws TemporaryError if the address cannot be bound.
  HttpServer(HttpOptions options, HttpHandlers handlers);
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
