#include "outrider/benchmark/http_client.h"

#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <optional>
#include <utility>

#include "outrider/util/error.h"

namespace outrider {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::uint64_t kMaxResponse = std::uint64_t{1} << 30;  // bytes of one response's body
constexpr std::uint32_t kMaxHeader = 64 << 10;

// State shared by all requests of a client.
struct Shared {
  asio::io_context context;
  BaseUrl url;
  std::vector<HttpHeader> headers;
  HttpClient::Timeouts timeouts;
  std::vector<std::unique_ptr<beast::tcp_stream>> idle;
  std::optional<tcp::resolver::results_type> endpoints;
};

// One request and its response.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(Shared& shared, http::request<http::string_body> request, HttpClient::Sink sink)
      : shared_(shared), resolver_(shared.context), request_(std::move(request)), sink_(std::move(sink)) {}

  void start() {
    reset();
    if (!shared_.idle.empty()) {
      stream_ = std::move(shared_.idle.back());
      shared_.idle.pop_back();
      reused_ = true;
      return write();
    }
    connect();
  }

 private:
  // A completion handler that keeps the exchange alive.
  template <typename... Rest>
  auto then(void (Exchange::*step)(error_code, Rest...)) {
    return [self = shared_from_this(), step](error_code error, Rest... rest) { (*self.*step)(error, rest...); };
  }

  void reset() {
    parser_.emplace();
    parser_->header_limit(kMaxHeader);
    parser_->body_limit(kMaxResponse);
    buffer_.clear();
  }

  void connect() {
    reused_ = false;
    stream_ = std::make_unique<beast::tcp_stream>(shared_.context);
    if (shared_.endpoints) return connect_to(*shared_.endpoints);
    resolver_.async_resolve(shared_.url.host, shared_.url.port,
                            [self = shared_from_this()](error_code error, const tcp::resolver::results_type& found) {
                              if (error) return self->fail("the host name cannot be resolved", error);
                              self->shared_.endpoints = found;
                              self->connect_to(found);
                            });
  }

  void connect_to(const tcp::resolver::results_type& endpoints) {
    stream_->expires_after(shared_.timeouts.connect);
    stream_->async_connect(endpoints, [self = shared_from_this()](error_code error, const tcp::endpoint&) {
      if (error) return self->fail("cannot connect", error);
      error_code ignored;
      self->stream_->socket().set_option(tcp::no_delay(true), ignored);
      self->write();
    });
  }

  void write() {
    stream_->expires_after(shared_.timeouts.request);
    http::async_write(*stream_, request_, then(&Exchange::on_written));
  }

  void on_written(error_code error, std::size_t) {
    if (error) return retry_or_fail("the request could not be sent", error);
    read();
  }

  // Not eager: an eager parser would hold the body back until the end.
  void read() { http::async_read_some(*stream_, buffer_, *parser_, then(&Exchange::on_read)); }

  void on_read(error_code error, std::size_t) {
    if (error && !parser_->got_some()) return retry_or_fail("no response", error);
    if (parser_->is_header_done()) {
      std::string& body = parser_->get().body();
      if (!body.empty() && sink_.on_data) sink_.on_data(parser_->get().result_int(), body);
      body.clear();
    }
    if (error) return fail("the response is incomplete", error);
    if (!parser_->is_done()) return read();
    if (parser_->keep_alive()) {
      stream_->expires_never();
      shared_.idle.push_back(std::move(stream_));
    }
    end({});
  }

  // A reused connection that the server has closed in the meantime is no error of the server.
  void retry_or_fail(const char* what, error_code error) {
    if (!reused_) return fail(what, error);
    reset();
    connect();
  }

  void fail(const char* what, error_code error) {
    end(fmt::format("{}: {} ({})", shared_.url.authority(), what,
                    error == beast::error::timeout ? "timeout" : error.message()));
  }

  void end(const std::string& error) {
    const unsigned status = parser_->is_header_done() ? parser_->get().result_int() : 0;
    stream_.reset();
    if (sink_.on_end) std::exchange(sink_, {}).on_end(status, error);
  }

  Shared& shared_;
  tcp::resolver resolver_;
  http::request<http::string_body> request_;
  HttpClient::Sink sink_;
  std::unique_ptr<beast::tcp_stream> stream_;
  bool reused_ = false;
  beast::flat_buffer buffer_;
  std::optional<http::response_parser<http::string_body>> parser_;
};

}  // namespace

struct HttpClient::Parts {
  Shared shared;

  http::request<http::string_body> request(const std::string& method, const std::string& path,
                                           const std::vector<HttpHeader>& more) const {
    http::request<http::string_body> out{http::string_to_verb(method), shared.url.path + path, 11};
    out.set(http::field::host, shared.url.authority());
    out.set(http::field::user_agent, "outrider");
    for (const auto* headers : {&shared.headers, &more}) {
      for (const HttpHeader& header : *headers) out.set(header.name, header.value);
    }
    return out;
  }

  void start(const std::string& method, const std::string& path, std::string json,
             const std::vector<HttpHeader>& headers, Sink sink) {
    auto message = request(method, path, headers);
    if (method == "POST") {
      message.set(http::field::content_type, "application/json");
      message.body() = std::move(json);
    }
    message.prepare_payload();
    std::make_shared<Exchange>(shared, std::move(message), std::move(sink))->start();
  }
};

HttpClient::HttpClient(BaseUrl url, std::vector<HttpHeader> headers)
    : HttpClient(std::move(url), std::move(headers), Timeouts{}) {}

HttpClient::HttpClient(BaseUrl url, std::vector<HttpHeader> headers, Timeouts timeouts)
    : parts_(std::make_unique<Parts>()) {
  parts_->shared.url = std::move(url);
  parts_->shared.headers = std::move(headers);
  parts_->shared.timeouts = timeouts;
}

HttpClient::~HttpClient() = default;

const BaseUrl& HttpClient::url() const {
  return parts_->shared.url;
}

HttpAnswer HttpClient::wait_for(const std::string& method, const std::string& path, const std::string& json) {
  HttpAnswer answer;
  std::string failed;
  parts_->start(method, path, json, {},
                {[&answer](unsigned, std::string_view piece) { answer.body += piece; },
                 [&answer, &failed](unsigned status, const std::string& error) {
                   answer.status = status;
                   failed = error;
                 }});
  run();
  if (!failed.empty()) throw Error(fmt::format("{} {}{}: {}.", method, parts_->shared.url.text(), path, failed));
  return answer;
}

HttpAnswer HttpClient::get(const std::string& path) {
  return wait_for("GET", path, {});
}

HttpAnswer HttpClient::post(const std::string& path, const std::string& json) {
  return wait_for("POST", path, json);
}

void HttpClient::start_post(const std::string& path, std::string json, const std::vector<HttpHeader>& headers,
                            Sink sink) {
  parts_->start("POST", path, std::move(json), headers, std::move(sink));
}

void HttpClient::at(std::chrono::steady_clock::time_point time, std::function<void()> work) {
  auto timer = std::make_shared<asio::steady_timer>(parts_->shared.context, time);
  timer->async_wait([timer, work = std::move(work)](error_code error) {
    if (!error) work();
  });
}

void HttpClient::run() {
  parts_->shared.context.restart();
  parts_->shared.context.run();
}

}  // namespace outrider
