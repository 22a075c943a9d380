#include "outrider/hub/hub_connection.h"

#include <fmt/format.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/beast/http.hpp>
#include <cctype>
#include <limits>

#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kMaxFields = 64 << 10;  // bytes of an answer's headers
constexpr std::size_t kPiece = 64 << 10;
// A server that sends less than this in the mean, after the first minute, is given up.
constexpr std::chrono::seconds kFirst{60};
constexpr double kSlowest = 8 << 10;  // bytes a second

std::string why(const error_code& error) {
  return error == beast::error::timeout ? "timed out" : error.message();
}

}  // namespace

std::string DownloadReply::field(const std::string& lower_case_name) const {
  const auto it = fields.find(lower_case_name);
  return it == fields.end() ? "" : it->second;
}

HubConnection::HubConnection(const Url& url, const std::optional<Proxy>& proxy, asio::ssl::context& tls, Limits limits)
    : limits_(limits), proxy_(proxy) {
  if (url.tls) {
    secure_.emplace(context_, tls);
  } else {
    plain_.emplace(context_);
  }
  connect_tcp(proxy_ ? proxy_->url : url);
  if (!url.tls) return;
  if (proxy_) open_tunnel(url);
  handshake(url);
}

HubConnection::~HubConnection() {
  error_code ignored;
  tcp().socket().close(ignored);
}

beast::tcp_stream& HubConnection::tcp() {
  return secure_ ? secure_->next_layer() : *plain_;
}

error_code HubConnection::wait(const std::function<void(std::function<void(error_code)>)>& start) {
  std::optional<error_code> result;
  tcp().expires_after(limits_.timeout);
  start([&result](error_code error) { result = error; });
  context_.restart();
  while (!result) {
    context_.run_for(std::chrono::milliseconds(100));
    if (limits_.cancelled) tcp().cancel();
  }
  tcp().expires_never();
  if (limits_.cancelled) throw Error("was cancelled");
  return *result;
}

void HubConnection::connect_tcp(const Url& to) {
  tcp::resolver resolver(context_);
  tcp::resolver::results_type endpoints;
  error_code error = wait([&](const auto& done) {
    resolver.async_resolve(to.host, to.port,
                           [&endpoints, done](error_code e, const tcp::resolver::results_type& found) {
                             endpoints = found;
                             done(e);
                           });
  });
  const std::string_view role = proxy_ ? "proxy " : "";
  if (error)
    throw TransientError(
        fmt::format("the host name of {}{} cannot be resolved ({})", role, to.authority(), why(error)));
  error = wait([&](const auto& done) {
    tcp().async_connect(endpoints, [done](error_code e, const tcp::endpoint&) { done(e); });
  });
  if (error) throw TransientError(fmt::format("cannot connect to {}{} ({})", role, to.authority(), why(error)));
  error_code ignored;
  tcp().socket().set_option(tcp::no_delay(true), ignored);
}

void HubConnection::open_tunnel(const Url& to) {
  const std::string host =
      fmt::format("{}:{}", to.host.find(':') == std::string::npos ? to.host : "[" + to.host + "]", to.port);
  http::request<http::empty_body> request{http::verb::connect, host, 11};
  request.set(http::field::host, host);
  request.set(http::field::user_agent, "outrider");
  if (!proxy_->authorization.empty()) request.set(http::field::proxy_authorization, proxy_->authorization);
  error_code error = wait(
      [&](const auto& done) { http::async_write(tcp(), request, [done](error_code e, std::size_t) { done(e); }); });
  http::response_parser<http::empty_body> parser;
  parser.header_limit(kMaxFields);
  parser.skip(true);  // what follows the headers is the tunnel
  if (!error) {
    error = wait([&](const auto& done) {
      http::async_read_header(tcp(), buffer_, parser, [done](error_code e, std::size_t) { done(e); });
    });
  }
  if (error)
    throw TransientError(fmt::format("the proxy {} does not answer ({})", proxy_->url.authority(), why(error)));
  const unsigned status = parser.get().result_int();
  if (status == 407) {
    throw Error(fmt::format("the proxy {} asks for a user. Set HTTPS_PROXY to http://USER:PASSWORD@HOST:PORT",
                            proxy_->url.authority()));
  }
  const std::string text =
      fmt::format("the proxy {} does not connect to {} (status {})", proxy_->url.authority(), host, status);
  if (status >= 500) throw TransientError(text);
  if (status / 100 != 2) throw Error(text + ". Correct HTTPS_PROXY, or add the host to NO_PROXY");
  buffer_.clear();
}

void HubConnection::handshake(const Url& to) {
  SSL* const ssl = secure_->native_handle();
  X509_VERIFY_PARAM* const verify = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(verify, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  error_code no_address;
  asio::ip::make_address(to.host, no_address);
  const bool named = no_address.failed();
  const int set = named ? X509_VERIFY_PARAM_set1_host(verify, to.host.c_str(), to.host.size())
                        : X509_VERIFY_PARAM_set1_ip_asc(verify, to.host.c_str());
  if (set != 1 || (named && SSL_set_tlsext_host_name(ssl, to.host.c_str()) != 1)) {
    throw Error(fmt::format("{} is no host name that a certificate can have", to.host));
  }
  const error_code error = wait([&](const auto& done) {
    secure_->async_handshake(asio::ssl::stream_base::client, [done](error_code e) { done(e); });
  });
  if (!error) return;
  if (const long verdict = SSL_get_verify_result(ssl); verdict != X509_V_OK) {
    throw Error(
        fmt::format("the certificate of {} is not trusted ({}). Verification cannot be switched off: if a proxy "
                    "or server of yours has an authority of its own, give the authority's certificate in "
                    "SSL_CERT_FILE; if the system has no certificates, install ca-certificates",
                    to.authority(), X509_verify_cert_error_string(verdict)));
  }
  throw TransientError(fmt::format("no TLS connection to {} ({})", to.authority(), why(error)));
}

DownloadReply HubConnection::exchange(const Url& url, const DownloadRequest& request, DownloadCounts& counts) {
  ++counts.requests;
  return secure_ ? exchange_on(*secure_, url, request, counts) : exchange_on(*plain_, url, request, counts);
}

template <typename Stream>
DownloadReply HubConnection::exchange_on(Stream& stream, const Url& url, const DownloadRequest& request,
                                         DownloadCounts& counts) {
  reusable_ = answered_ = false;
  const bool by_proxy = proxy_ && !url.tls;
  http::request<http::empty_body> message{http::string_to_verb(request.method), by_proxy ? url.text() : url.path, 11};
  message.set(http::field::host, url.authority());
  message.set(http::field::user_agent, "outrider");
  message.set(http::field::accept_encoding, "identity");
  if (by_proxy && !proxy_->authorization.empty()) {
    message.set(http::field::proxy_authorization, proxy_->authorization);
  }
  for (const auto& [name, value] : request.headers) message.set(name, value);
  error_code error = wait(
      [&](const auto& done) { http::async_write(stream, message, [done](error_code e, std::size_t) { done(e); }); });
  if (error) throw TransientError(fmt::format("the request could not be sent ({})", why(error)));

  http::response_parser<http::buffer_body> parser;
  parser.header_limit(kMaxFields);
  parser.body_limit(std::numeric_limits<std::uint64_t>::max());  // `wanted` limits it
  if (request.method == "HEAD") parser.skip(true);
  std::vector<char> piece(kPiece);
  DownloadReply reply;
  const auto begin = Clock::now();
  std::uint64_t got = 0;
  const auto read_some = [&] {
    parser.get().body().data = piece.data();
    parser.get().body().size = piece.size();
    error = wait([&](const auto& done) {
      http::async_read_some(stream, buffer_, parser, [done, &got](error_code e, std::size_t bytes) {
        got += bytes;
        done(e);
      });
    });
    counts.bytes += got;
    answered_ = answered_ || got != 0;
    if (error == http::error::need_buffer) error = {};
    const std::size_t arrived = piece.size() - parser.get().body().size;
    reply.body.append(piece.data(), parser.is_header_done() ? arrived : 0);
    const std::chrono::duration<double> took = Clock::now() - begin;
    const double mean = static_cast<double>(reply.body.size()) / took.count();
    if (!error && took > kFirst && mean < kSlowest && !parser.is_done()) error = beast::error::timeout;
    got = 0;
  };
  const auto fail_broken = [&] {
    if (error.category() == make_error_code(http::error::end_of_stream).category() &&
        error != http::error::partial_message && error != http::error::end_of_stream) {
      throw Error(fmt::format("the server's answer is not valid HTTP ({})", error.message()));
    }
    throw TransientError(reply.status == 0 ? fmt::format("no answer ({})", why(error))
                                           : fmt::format("the answer ends after {} bytes of its body ({})",
                                                         reply.body.size(), why(error)));
  };
  while (!parser.is_header_done()) {
    read_some();
    if (error) fail_broken();
  }
  reply.status = parser.get().result_int();
  for (const auto& field : parser.get()) {
    std::string name(field.name_string());
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    reply.fields[name] = std::string(field.value());
  }
  std::uint64_t wanted = request.wanted(reply);
  while (!parser.is_done() && reply.body.size() < wanted) {
    read_some();
    if (error) fail_broken();
    wanted = request.wanted(reply);
  }
  reusable_ = parser.is_done() && parser.keep_alive();
  if (reply.body.size() > wanted) reply.body.resize(wanted);
  return reply;
}

}  // namespace outrider
