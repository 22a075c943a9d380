#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/benchmark/base_url.h"

namespace outrider {

struct HttpHeader {
  std::string name;
  std::string value;
};

struct HttpAnswer {
  unsigned status = 0;
  std::string body;
};

// Sends concurrent requests to one server, from one thread. Reuses connections that the server keeps open.
class HttpClient {
 public:
  struct Timeouts {
    std::chrono::seconds connect{30};
    std::chrono::seconds request{6 * 3600};  // for a whole request, as in vLLM's client
  };
  struct Sink {
    // Called with each piece of the response's body as it arrives.
    std::function<void(unsigned status, std::string_view piece)> on_data;
    // Called once, last. `error` says why the response is incomplete; empty if it is complete.
    std::function<void(unsigned status, const std::string& error)> on_end;
  };

  // `headers` are sent with every request.
  explicit HttpClient(BaseUrl url, std::vector<HttpHeader> headers = {});
  HttpClient(BaseUrl url, std::vector<HttpHeader> headers, Timeouts timeouts);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  const BaseUrl& url() const;

  // Sends one request and waits. `path` begins with a slash and is appended to the URL's. Throw Error if the server
  // cannot be reached or the response is incomplete; responses of any status are returned.
  HttpAnswer get(const std::string& path);
  HttpAnswer post(const std::string& path, const std::string& json);

  // Queues a request (POST, Content-Type: application/json) for run().
  void start_post(const std::string& path, std::string json, const std::vector<HttpHeader>& headers, Sink sink);
  // Queues `work`, which run() calls at `time`.
  void at(std::chrono::steady_clock::time_point time, std::function<void()> work);
  // Runs until all queued work, and what it queues, is done.
  void run();

 private:
  struct Parts;
  HttpAnswer wait_for(const std::string& method, const std::string& path, const std::string& json);

  std::unique_ptr<Parts> parts_;
};

}  // namespace outrider
