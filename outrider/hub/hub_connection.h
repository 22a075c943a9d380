#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "outrider/hub/proxy.h"
#include "outrider/hub/url.h"
#include "outrider/util/error.h"

namespace outrider {

// A failure that another try may not meet: no answer, a connection that breaks. The message is a clause without a
// subject.
class TransientError : public Error {
 public:
  using Error::Error;
};

struct DownloadReply {
  unsigned status = 0;
  std::map<std::string, std::string> fields;  // names in lower case; of repeated ones the last
  std::string body;

  std::string field(const std::string& lower_case_name) const;  // empty where absent
};

struct DownloadRequest {
  std::string method = "GET";
  std::vector<std::pair<std::string, std::string>> headers;
  // How many bytes of the body are wanted, by what has arrived: called after the headers and after each piece. Reading
  // ends there, and the connection is closed if the body goes on.
  std::function<std::uint64_t(const DownloadReply&)> wanted;
};

struct DownloadCounts {
  std::atomic<std::uint64_t> requests = 0;
  std::atomic<std::uint64_t> bytes = 0;  // of answers, with their headers
};

// One connection to a server, through a proxy or not. Used by one thread at a time.
class HubConnection {
 public:
  struct Limits {
    std::chrono::seconds timeout;        // to connect; without a byte
    const std::atomic<bool>& cancelled;  // ends what waits
  };
  // Verifies certificate and host name of an https server. Throws as exchange() does.
  HubConnection(const Url& url, const std::optional<Proxy>& proxy, boost::asio::ssl::context& tls, Limits limits);
  ~HubConnection();

  // Sends a request and reads its answer. Throws TransientError; Error for an invalid certificate or answer. After
  // either, and if !reusable(), the connection is of no more use.
  DownloadReply exchange(const Url& url, const DownloadRequest& request, DownloadCounts& counts);
  bool reusable() const { return reusable_; }
  // An answer's first byte has arrived on it: a failure before it, on a connection that was kept, is the server closing
  // it.
  bool answered() const { return answered_; }

 private:
  using Error_code = boost::system::error_code;
  // Runs what `start` starts to its end.
  Error_code wait(const std::function<void(std::function<void(Error_code)>)>& start);
  void connect_tcp(const Url& to);
  void open_tunnel(const Url& to);
  void handshake(const Url& to);
  template <typename Stream>
  DownloadReply exchange_on(Stream& stream, const Url& url, const DownloadRequest& request, DownloadCounts& counts);
  boost::beast::tcp_stream& tcp();

  boost::asio::io_context context_;
  Limits limits_;
  std::optional<Proxy> proxy_;
  std::optional<boost::beast::tcp_stream> plain_;
  std::optional<boost::beast::ssl_stream<boost::beast::tcp_stream>> secure_;
  boost::beast::flat_buffer buffer_;
  bool reusable_ = false;
  bool answered_ = false;
};

}  // namespace outrider
