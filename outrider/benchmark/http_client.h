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

// Sends requests to one server, as many at once as are started, from one thread. Connections are used again where the
// server keeps them open.
class HttpClient {
 public:
  struct Timeouts {
    std::chrono::seconds connect{30};
    std::chrono::seconds request{6 * 3600};  // the whole of one, as vLLM's client has it
  };
  struct Sink {
    // A piece of the answer's body, as soon as it has come.
    std::function<void(unsigned status, std::string_view piece)> on_data;
    // Once, after everything else. `error` says why there is no whole answer, and is empty where there is one.
    std::function<void(unsigned status, const std::string& error)> on_end;
  };

  // `headers` go with every request.
  explicit HttpClient(BaseUrl url, std::vector<HttpHeader> headers = {});
  HttpClient(BaseUrl url, std::vector<HttpHeader> headers, Timeouts timeouts);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  const BaseUrl& url() const;

  // One request after the other. `path` begins with a slash and goes behind that of the URL. Throw Error where the
  // server cannot be reached or gives no whole answer; answers of any status are returned.
  HttpAnswer get(const std::string& path);
  HttpAnswer post(const std::string& path, const std::string& json);

  // Begins a request (POST, Content-Type: application/json), which run() takes on.
  void start_post(const std::string& path, std::string json, std::vector<HttpHeader> headers, Sink sink);
  // Has run() call `work` at a time.
  void at(std::chrono::steady_clock::time_point time, std::function<void()> work);
  // Runs everything, and what it begins in turn, to its end.
  void run();

 private:
  struct Parts;
  HttpAnswer wait_for(const std::string& method, const std::string& path, const std::string& json);

  std::unique_ptr<Parts> parts_;
};

}  // namespace outrider
