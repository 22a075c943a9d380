#include "outrider/server/http_server.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "outrider/server/api_error.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

class Connection;

// The path of a request target, which may be an absolute URL: without the query, %XX decoded.
std::string path_of(std::string_view target) {
  target = target.substr(0, target.find('?'));
  if (const std::size_t scheme = target.find("://"); !target.starts_with('/') && scheme != std::string_view::npos) {
    const std::size_t path = target.find('/', scheme + 3);
    target = path == std::string_view::npos ? "/" : target.substr(path);
  }
  std::string decoded;
  for (std::size_t i = 0; i < target.size(); ++i) {
    unsigned byte = 0;
    const char* digits = target.data() + i + 1;
    if (target[i] == '%' && i + 2 < target.size() && std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
      decoded += static_cast<char>(byte);
      i += 2;
    } else {
      decoded += target[i];
    }
  }
  return decoded;
}

// The server's state that a connection needs; outlives the server with it.
struct Shared {
  HttpOptions options;
  HttpHandler handler;
  std::atomic<bool> shutting_down = false;
  std::mutex mutex;
  std::condition_variable closed;
  std::unordered_set<Connection*> open;
  asio::thread_pool* aside = nullptr;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, std::shared_ptr<Shared> shared)
      : socket_(std::move(socket)), timer_(socket_.get_executor()), shared_(std::move(shared)) {
    const std::lock_guard lock(shared_->mutex);
    shared_->open.insert(this);
  }
  ~Connection() {
    const std::lock_guard lock(shared_->mutex);
    shared_->open.erase(this);
    if (shared_->open.empty()) shared_->closed.notify_all();
  }

  void start() {
    error_code ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
    const auto remote = socket_.remote_endpoint(ignored);
    client_ = fmt::format("{}:{}", remote.address().to_string(), remote.port());
    post([this] { read(); });
  }

  // Runs `work` on the strand; keeps the connection alive until then.
  template <typename Work>
  void post(Work work) {
    asio::post(socket_.get_executor(), [self = shared_from_this(), work = std::move(work)]() mutable { work(); });
  }

  void shut_down() {
    post([this] {
      if (!answering_ && !reading_body_) close();
    });
  }

  // The rest runs on the strand. `serial` identifies the request; responses to one that is over are dropped.

  void send(std::size_t serial, const HttpResponse& response) {
    if (serial != serial_ || !answering_ || begun_) return;
    begun_ = true;
    append_head(response.status, response.content_type,
                response.headers + fmt::format("Content-Length: {}\r\n", response.body.size()));
    if (!head_only_) out_ += response.body;
    finish();
  }
  void begin_stream(std::size_t serial, const std::string& content_type) {
    if (serial != serial_ || !answering_ || begun_) return;
    begun_ = true;
    streaming_ = true;
    if (!chunked_) keep_alive_ = false;  // HTTP/1.0: the stream ends with the connection
    append_head(200, content_type,
                std::string("Cache-Control: no-cache\r\n") + (chunked_ ? "Transfer-Encoding: chunked\r\n" : ""));
    flush();
  }
  void write(std::size_t serial, const std::string& piece) {
    if (serial != serial_ || !answering_ || !streaming_ || piece.empty()) return;
    out_ += chunked_ ? fmt::format("{:x}\r\n{}\r\n", piece.size(), piece) : piece;
    flush();
  }
  void end_stream(std::size_t serial) {
    if (serial != serial_ || !answering_ || !streaming_) return;
    streaming_ = false;
    if (chunked_) out_ += "0\r\n\r\n";
    finish();
  }
  void on_disconnect(std::size_t serial, std::function<void()> work) {
    if (serial == serial_ && answering_) {
      disconnected_ = std::move(work);
    } else {
      work();
    }
  }
  asio::thread_pool& aside() { return *shared_->aside; }

 private:
  void set_deadline(unsigned seconds) {
    timer_.expires_after(std::chrono::seconds(seconds));
    timer_.async_wait([weak = weak_from_this()](error_code error) {
      const auto self = weak.lock();
      // A timer that was reset in the meantime has not expired.
      if (!error && self && self->timer_.expiry() <= std::chrono::steady_clock::now()) self->close();
    });
  }

  void read() {
    if (shared_->shutting_down) return close();
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(shared_->options.max_header));
    parser_->body_limit(shared_->options.max_body);
    reading_body_ = false;
    set_deadline(shared_->options.idle_timeout);
    http::async_read_some(socket_, buffer_, *parser_,
                          [self = shared_from_this()](error_code error, std::size_t) { self->read_on(error); });
  }

  // Once a request has begun, all of it must arrive before the timeout.
  void read_on(error_code error) {
    if (error) return refuse(error);
    if (!reading_body_) set_deadline(shared_->options.read_timeout);
    reading_body_ = true;
    if (!parser_->is_header_done()) {
      http::async_read_header(socket_, buffer_, *parser_,
                              [self = shared_from_this()](error_code e, std::size_t) { self->read_on(e); });
    } else if (!parser_->is_done()) {
      if (boost::beast::iequals(parser_->get()[http::field::expect], "100-continue") && !continued_) {
        continued_ = true;
        out_ += "HTTP/1.1 100 Continue\r\n\r\n";
        flush();
      }
      http::async_read(socket_, buffer_, *parser_,
                       [self = shared_from_this()](error_code e, std::size_t) { self->read_on(e); });
    } else {
      answer();
    }
  }

  void refuse(error_code error) {
    unsigned status = 400;
    std::string why;
    if (error == http::error::body_limit) {
      status = 413;
      why = fmt::format("The body of the request is larger than {} bytes, the maximum. Split the request.",
                        shared_->options.max_body);
    } else if (error == http::error::header_limit) {
      status = 431;
      why = fmt::format("The header of the request is larger than {} bytes, the maximum.", shared_->options.max_header);
    } else if (error.category() == http::make_error_code(http::error::bad_method).category() &&
               error != http::error::end_of_stream && error != http::error::partial_message) {
      why = fmt::format("This is not an HTTP request: {}.", error.message());
    } else {
      return close();  // the client has disconnected
    }
    begin_answer();
    keep_alive_ = false;
    send(serial_, {status, "application/json", error_json(status, why), {}});
  }

  void begin_answer() {
    ++serial_;
    answering_ = true;
    reading_body_ = false;
    continued_ = false;
    begun_ = false;
    streaming_ = false;
    disconnected_ = nullptr;
    timer_.cancel();
  }

  void answer();

  // Detects a disconnect while nothing is read. Data that arrives in the meantime is left for read().
  void watch() {
    if (watching_) return;
    watching_ = true;
    socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code error) {
      self->watching_ = false;
      if (!self->answering_) return;
      char byte = 0;
      const ssize_t waiting = error ? 0 : ::recv(self->socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
      if (waiting > 0) return;
      const bool nothing_yet = waiting < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
      nothing_yet ? self->watch() : self->disconnect();
    });
  }

  void disconnect() {
    const std::function<void()> work = std::exchange(disconnected_, nullptr);
    close();
    if (work) work();
  }

  void append_head(unsigned status, const std::string& content_type, const std::string& more) {
    if (shared_->shutting_down) keep_alive_ = false;
    out_ += fmt::format("HTTP/1.1 {} {}\r\nServer: outrider\r\nContent-Type: {}\r\nConnection: {}\r\n{}\r\n", status,
                        std::string(http::obsolete_reason(static_cast<http::status>(status))), content_type,
                        keep_alive_ ? "keep-alive" : "close", more);
  }

  void finish() {
    disconnected_ = nullptr;
    finished_ = true;
    flush();
  }

  void flush() {
    if (!writing_.empty() || !socket_.is_open()) return;
    if (out_.empty()) {
      if (finished_) next();
      return;
    }
    writing_.swap(out_);
    if (answering_) set_deadline(shared_->options.read_timeout);
    asio::async_write(socket_, asio::buffer(writing_), [self = shared_from_this()](error_code error, std::size_t) {
      self->writing_.clear();
      if (self->answering_) self->timer_.cancel();
      if (error) return self->disconnect();
      self->flush();
    });
  }

  void next() {
    finished_ = false;
    answering_ = false;
    if (keep_alive_ && !shared_->shutting_down) return read();
    // Waits for the client to close, so that data still in flight does not make the kernel discard the response.
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    set_deadline(2);
    discard();
  }

  void discard() {
    buffer_.clear();
    socket_.async_read_some(buffer_.prepare(4096), [self = shared_from_this()](error_code error, std::size_t) {
      if (error) return self->close();
      self->discard();
    });
  }

  void close() {
    timer_.cancel();
    error_code ignored;
    socket_.close(ignored);
    if (answering_ && disconnected_) {
      const std::function<void()> work = std::exchange(disconnected_, nullptr);
      answering_ = false;
      work();
    }
    answering_ = false;
  }

  tcp::socket socket_;
  asio::steady_timer timer_;
  std::shared_ptr<Shared> shared_;
  std::string client_;
  boost::beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  bool reading_body_ = false;
  bool continued_ = false;
  bool watching_ = false;

  // Identifies the request that is being answered.
  std::size_t serial_ = 0;
  bool answering_ = false;
  bool begun_ = false;
  bool streaming_ = false;
  bool finished_ = false;
  bool keep_alive_ = false;
  bool chunked_ = false;
  bool head_only_ = false;
  std::function<void()> disconnected_;
  std::string out_;
  std::string writing_;
};

class Responder : public HttpResponder {
 public:
  Responder(std::shared_ptr<Connection> connection, std::size_t serial)
      : connection_(std::move(connection)), serial_(serial) {}
  ~Responder() override {
    // The connection drops this response if there was one before.
    send({500, "application/json", error_json(500, "The server dropped the request without a response."), {}});
    end_stream();
  }
  Responder(const Responder&) = delete;
  Responder& operator=(const Responder&) = delete;

  void send(HttpResponse response) override {
    to_connection([response = std::move(response)](Connection& c, std::size_t serial) { c.send(serial, response); });
  }
  void begin_stream(std::string content_type) override {
    to_connection(
        [type = std::move(content_type)](Connection& c, std::size_t serial) { c.begin_stream(serial, type); });
  }
  void write(std::string piece) override {
    to_connection([piece = std::move(piece)](Connection& c, std::size_t serial) { c.write(serial, piece); });
  }
  void end_stream() override {
    to_connection([](Connection& c, std::size_t serial) { c.end_stream(serial); });
  }
  void post(std::function<void()> work) override { connection_->post(std::move(work)); }
  void run_aside(std::function<void()> work) override { asio::post(connection_->aside(), std::move(work)); }
  void on_disconnect(std::function<void()> work) override {
    to_connection([work = std::move(work)](Connection& c, std::size_t serial) { c.on_disconnect(serial, work); });
  }

 private:
  template <typename Work>
  void to_connection(Work work) {
    connection_->post(
        [connection = connection_.get(), serial = serial_, work = std::move(work)] { work(*connection, serial); });
  }

  std::shared_ptr<Connection> connection_;
  std::size_t serial_;
};

void Connection::answer() {
  begin_answer();
  auto& message = parser_->get();
  keep_alive_ = parser_->keep_alive();
  chunked_ = message.version() >= 11;
  HttpRequest request;
  request.method = std::string(message.method_string());
  head_only_ = request.method == "HEAD";
  if (head_only_) request.method = "GET";
  request.path = path_of(std::string_view(message.target().data(), message.target().size()));
  request.content_type = std::string(message[http::field::content_type]);
  request.authorization = std::string(message[http::field::authorization]);
  request.body = std::move(message.body());
  request.client = client_;
  watch();
  shared_->handler(std::move(request), std::make_shared<Responder>(shared_from_this(), serial_));
}

}  // namespace

struct HttpServer::Parts {
  Parts(HttpOptions options, HttpHandler handler)
      : acceptor(asio::make_strand(context)),
        retry(acceptor.get_executor()),
        aside(std::max(options.threads_aside, 1U)) {
    shared->options = std::move(options);
    shared->handler = std::move(handler);
    shared->aside = &aside;
  }

  void listen() {
    const HttpOptions& options = shared->options;
    const auto fail = [&](const error_code& error) {
      throw Error(fmt::format("Cannot listen on {} port {}: {}. Choose another with --host and --port.", options.host,
                              options.port, error.message()));
    };
    error_code error;
    tcp::resolver resolver(context);
    const auto found = resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
    if (error) fail(error);
    const tcp::endpoint endpoint = found.begin()->endpoint();
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(tcp::acceptor::max_listen_connections, error);
    if (!error) port = acceptor.local_endpoint(error).port();
    if (error) fail(error);
  }

  void accept() {
    acceptor.async_accept(asio::make_strand(context), [this](error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted || !acceptor.is_open()) return;
      if (!error) {
        std::make_shared<Connection>(std::move(socket), shared)->start();
        return accept();
      }
      // For instance, no file descriptors left; some will be closed.
      retry.expires_after(std::chrono::milliseconds(100));
      retry.async_wait([this](error_code stopped) {
        if (!stopped) accept();
      });
    });
  }

  // A connection under destruction waits for the lock to leave the set; its weak_from_this() is expired already.
  std::vector<std::shared_ptr<Connection>> live() {
    std::vector<std::shared_ptr<Connection>> out;
    const std::lock_guard lock(shared->mutex);
    for (Connection* connection : shared->open) {
      if (auto held = connection->weak_from_this().lock()) out.push_back(std::move(held));
    }
    return out;
  }

  std::shared_ptr<Shared> shared = std::make_shared<Shared>();
  asio::io_context context;
  tcp::acceptor acceptor;
  asio::steady_timer retry;
  std::uint16_t port = 0;
  std::vector<std::thread> threads;
  asio::thread_pool aside;  // destroyed first: its queue refers to connections
};

HttpServer::HttpServer(HttpOptions options, HttpHandler handler)
    : parts_(std::make_unique<Parts>(std::move(options), std::move(handler))) {
  parts_->listen();
  asio::post(parts_->acceptor.get_executor(), [parts = parts_.get()] { parts->accept(); });
  for (unsigned i = 0; i < std::max(parts_->shared->options.threads, 1U); ++i) {
    parts_->threads.emplace_back([parts = parts_.get()] {
      const auto work = asio::make_work_guard(parts->context);
      parts->context.run();
    });
  }
}

HttpServer::~HttpServer() {
  parts_->context.stop();
  for (std::thread& thread : parts_->threads) thread.join();
  parts_->aside.stop();
  parts_->aside.join();
}

std::uint16_t HttpServer::port() const {
  return parts_->port;
}

std::size_t HttpServer::connections() const {
  const std::lock_guard lock(parts_->shared->mutex);
  return parts_->shared->open.size();
}

void HttpServer::shut_down() {
  parts_->shared->shutting_down = true;
  asio::post(parts_->acceptor.get_executor(), [parts = parts_.get()] {
    error_code ignored;
    parts->acceptor.close(ignored);
    parts->retry.cancel();
  });
  for (const auto& connection : parts_->live()) connection->shut_down();
}

bool HttpServer::wait_closed(unsigned milliseconds) {
  std::unique_lock lock(parts_->shared->mutex);
  return parts_->shared->closed.wait_for(lock, std::chrono::milliseconds(milliseconds),
                                         [this] { return parts_->shared->open.empty(); });
}

}  // namespace outrider
