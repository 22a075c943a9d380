#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

namespace outrider {

struct HttpRequest {
  std::string method;
  std::string path;  // decoded, without the query
  std::string content_type;
  std::string authorization;
  std::string body;
  bool has_body = false;  // one follows the header
  std::string client;     // address and port
  std::stop_token gone;   // stop is requested when the client disconnects before the response is complete
  std::shared_ptr<const void> body_share;  // the body's part of HttpOptions::max_pending_bodies, while it is held
};

struct HttpResponse {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::string headers;  // further headers, each ended by \r\n
};

// One request and its response, once that is complete or the client has disconnected.
struct HttpExchange {
  std::string method;  // empty, as the path, if the header could not be read
  std::string path;    // decoded, without the query
  unsigned status = 0;
  std::size_t request_bytes = 0;  // of the bodies
  std::size_t response_bytes = 0;
  double seconds = 0;  // since the request began to arrive
};

// Sends the response to one request: one whole response, or a stream of pieces. May be used from any thread; what is
// sent after a disconnect is dropped. Throws std::bad_alloc, then nothing was sent. Destroyed without a response, it
// sends 500, or 503 if an exception is the reason.
class HttpResponder {
 public:
  virtual ~HttpResponder() = default;

  virtual void send(HttpResponse response) = 0;

  virtual void begin_stream(std::string content_type) = 0;
  virtual void write(std::string piece) = 0;
  virtual void end_stream() = 0;
  // Ends the connection without a response, for want of memory to send one.
  virtual void abort() noexcept = 0;

  // Runs `work` on the connection's thread; calls run in order, one at a time.
  virtual void post(std::function<void()> work) = 0;
  // Runs `work` on a thread where it may block, in its turn (WorkQueue); never if the client disconnects before.
  virtual void run_aside(std::function<void()> work) = 0;
  // Runs `work` on the connection's thread if the client disconnects before the response is complete, or has done so
  // already.
  virtual void on_disconnect(std::function<void()> work) = 0;
};

}  // namespace outrider
