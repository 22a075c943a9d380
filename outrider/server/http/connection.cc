#include "outrider/server/http/connection.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <chrono>
#include <exception>
#include <limits>
#include <mutex>
#include <new>
#include <optional>
#include <stop_token>
#include <utility>

#include "outrider/server/api_error.h"
#include "outrider/server/http/completion_handler.h"
#include "outrider/server/http/request_body.h"
#include "outrider/server/http/request_target.h"

namespace outrider {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

}  // namespace

class Connection : public OpenConnection {
 public:
  Connection(Socket socket, std::shared_ptr<ConnectionContext> context)
      : socket_(std::move(socket)),
        timer_(socket_.get_executor()),
        look_again_(socket_.get_executor()),
        context_(std::move(context)),
        buffer_(context_->options.max_header + kMaxUnparsed) {
    context_->open.insert(*this);
  }
  ~Connection() override { context_->open.erase(*this); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void start() {
    error_code ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
    const auto remote = socket_.remote_endpoint(ignored);
    address_ = remote.address().to_string();
    client_ = fmt::format("{}:{}", address_, remote.port());
    post([this] { read(); });
  }

  // Runs `work` on the connection's thread; keeps the connection alive until then.
  template <typename Work>
  void post(Work work) {
    asio::post(socket_.get_executor(), [self = held(), work = std::move(work)]() mutable {
      try {
        work();
      } catch (const std::exception&) {
        self->run_out_of_memory();
      }
    });
  }
  bool on_its_thread() { return socket_.get_executor().running_in_this_thread(); }

  void close_if_idle() override {
    post([this] {
      if (!answering_ && !begun_reading_) close();
    });
  }
  void close_if_waiting() override {
    post([this] {
      if (waiting_since()) return close();
      context_->open.insert(*this);  // it is to be counted again
    });
  }
  std::optional<Clock::time_point> waiting_since() const override {
    const Clock::rep since = waiting_since_;
    return since == kBusy ? std::nullopt : std::optional(Clock::time_point(Clock::duration(since)));
  }
  bool has_unread_response() const override { return unread_; }
  void abandon() override { gone_.request_stop(); }
  // Ends the connection at once, from any thread, without memory: for a response that could not be sent. What waits for
  // the client sees that.
  void abort() noexcept {
    const std::lock_guard lock(closing_);
    if (socket_.is_open()) ::shutdown(socket_.native_handle(), SHUT_RDWR);
  }

  // The rest runs on the connection's thread. What throws for want of memory has changed nothing. `serial` identifies
  // the request; responses to one that is over are dropped.

  void send(std::size_t serial, const HttpResponse& response) {
    if (serial != serial_ || !answering_ || begun_) return;
    const std::string head = head_of(response.status, response.content_type,
                                     response.headers + fmt::format("Content-Length: {}\r\n", response.body.size()));
    const std::string_view body = head_only_ ? std::string_view() : std::string_view(response.body);
    out_.reserve(out_.size() + head.size() + body.size());
    begun_ = true;
    exchange_.status = response.status;
    exchange_.response_bytes = body.size();
    out_.append(head).append(body);
    finish();
  }
  void begin_stream(std::size_t serial, const std::string& content_type) {
    if (serial != serial_ || !answering_ || begun_) return;
    if (!chunked_) keep_alive_ = false;  // HTTP/1.0: the stream ends with the connection
    out_ += head_of(200, content_type,
                    std::string("Cache-Control: no-cache\r\n") + (chunked_ ? "Transfer-Encoding: chunked\r\n" : ""));
    exchange_.status = 200;
    begun_ = true;
    streaming_ = true;
    flush();
  }
  void write(std::size_t serial, const std::string& piece) {
    if (serial != serial_ || !answering_ || !streaming_ || piece.empty()) return;
    exchange_.response_bytes += piece.size();
    out_ += chunked_ ? fmt::format("{:x}\r\n{}\r\n", piece.size(), piece) : piece;
    flush();
  }
  void end_stream(std::size_t serial) {
    if (serial != serial_ || !answering_ || !streaming_) return;
    if (chunked_) out_ += "0\r\n\r\n";
    streaming_ = false;
    finish();
  }
  void on_disconnect(std::size_t serial, std::function<void()> work) {
    if (serial == serial_ && answering_) {
      disconnected_ = std::move(work);
    } else {
      work();
    }
  }
  void run_aside(std::function<void()> work, std::stop_token unwanted, std::size_t bytes) {
    context_->aside->add({std::move(work), std::move(unwanted), address_, bytes});
  }

 private:
  template <typename Owner, typename Work>
  friend class CompletionHandler;
  // A handler was destroyed without being called.
  static void lose(const std::shared_ptr<Connection>& connection) noexcept {
    if (connection->context_->destroyed) return;
    try {
      asio::post(connection->socket_.get_executor(), [held = connection] { held->run_out_of_memory(); });
    } catch (const std::exception&) {
      connection->abort();
    }
  }

  // Nobody waits for what is being worked on; the client is told if its response has not begun.
  void run_out_of_memory() noexcept {
    if (finished_) return;  // the response is on its way
    try {
      gone_.request_stop();
      if (const auto work = std::exchange(disconnected_, nullptr)) work();
      const bool unanswered = answering_ ? !begun_ : begun_reading_;
      if (socket_.is_open() && unanswered) return answer_itself(503, kOutOfMemory);
    } catch (const std::exception&) {
    }
    close();
  }

  std::shared_ptr<Connection> held() { return std::static_pointer_cast<Connection>(shared_from_this()); }

  void set_deadline(unsigned seconds) {
    timer_.expires_after(std::chrono::seconds(seconds));
    timer_.async_wait([weak = std::weak_ptr(held())](error_code error) {
      const auto self = weak.lock();
      // A timer that was reset in the meantime has not expired.
      if (!error && self && self->timer_.expiry() <= std::chrono::steady_clock::now()) self->close();
    });
  }
  void clear_deadline() { timer_.expires_at(std::chrono::steady_clock::time_point::max()); }

  auto reader() {
    return CompletionHandler(held(), [this](error_code error, std::size_t) { read_on(error); });
  }

  void read() {
    if (context_->shutting_down) return close();
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(context_->options.max_header));
    parser_->body_limit(context_->options.max_body);
    parser_->get().body().share = std::make_shared<ByteBudget::Share>(context_->pending_bodies);
    begun_reading_ = false;
    unread_ = false;
    exchange_ = {};
    waiting_since_ = Clock::now().time_since_epoch().count();
    if (buffer_.size() != 0) return read_header();
    set_deadline(context_->options.idle_timeout);
    socket_.async_wait(Socket::wait_read,
                       CompletionHandler(held(), [this](error_code error) { error ? close() : read_header(); }));
  }

  // From the first byte of a request on, all of it must arrive before the timeout.
  void read_header() {
    begun_reading_ = true;
    arrived_ = Clock::now();
    set_deadline(context_->options.read_timeout);
    http::async_read_header(socket_, buffer_, *parser_, reader());
  }

  void read_on(error_code error) {
    if (error) return refuse(error);
    if (waiting_since_.exchange(kBusy) != kBusy && !admit()) return;
    if (parser_->is_done()) return answer();
    http::async_read(socket_, buffer_, *parser_, reader());
  }

  // Called once the header is complete. Returns whether the body is to be read.
  bool admit() {
    request_ = {};
    const auto& message = parser_->get();
    keep_alive_ = parser_->keep_alive();
    chunked_ = message.version() >= 11;
    request_.method = std::string(message.method_string());
    head_only_ = request_.method == "HEAD";
    exchange_.method = request_.method;
    if (head_only_) request_.method = "GET";
    request_.path = path_of_target(std::string_view(message.target().data(), message.target().size()));
    exchange_.path = request_.path;
    request_.content_type = std::string(message[http::field::content_type]);
    request_.authorization = std::string(message[http::field::authorization]);
    request_.client = client_;
    request_.has_body = !parser_->is_done();
    std::optional<HttpResponse> refused;
    if (context_->handlers.admit) refused = context_->handlers.admit(request_);
    if (refused) {
      begin_answer();
      keep_alive_ = keep_alive_ && parser_->is_done();
      send(serial_, *refused);
      return false;
    }
    if (!parser_->is_done() && boost::beast::iequals(message[http::field::expect], "100-continue")) {
      out_ += "HTTP/1.1 100 Continue\r\n\r\n";
      flush();
    }
    return true;
  }

  void refuse(error_code error) {
    unsigned status = 400;
    std::string why;
    if (error == http::error::body_limit) {
      status = 413;
      why = fmt::format("The body of the request is larger than {} bytes, the maximum. Split the request.",
                        context_->options.max_body);
    } else if (error == http::error::header_limit) {
      status = 431;
      why =
          fmt::format("The header of the request is larger than {} bytes, the maximum.", context_->options.max_header);
    } else if (error == boost::system::errc::not_enough_memory) {
      status = 503;
      why = "The bodies of other requests take all of the memory that they may. Try again later.";
    } else if (error.category() == http::make_error_code(http::error::bad_method).category() &&
               error != http::error::end_of_stream && error != http::error::partial_message) {
      why = fmt::format("This is not an HTTP request: {}.", error.message());
    } else {
      return close();  // the client has disconnected
    }
    answer_itself(status, why);
  }

  // The last response of the connection.
  void answer_itself(unsigned status, const std::string& why) {
    begin_answer();
    keep_alive_ = false;
    send(serial_, {status, "application/json", error_json(status, why), status == 503 ? "Retry-After: 1\r\n" : ""});
  }

  void begin_answer() {
    ++serial_;
    gone_ = std::stop_source();
    answering_ = true;
    begun_reading_ = false;
    waiting_since_ = kBusy;
    begun_ = false;
    streaming_ = false;
    disconnected_ = nullptr;
    clear_deadline();
  }

  void answer();  // uses Responder

  // Detects a disconnect while nothing is read. Data that arrives in the meantime is left for read().
  void watch() {
    if (watching_) return;
    watching_ = true;
    socket_.async_wait(
        Socket::wait_read, CompletionHandler(held(), [this](error_code error) {
          watching_ = false;
          if (!answering_) return;
          char byte = 0;
          const ssize_t waiting = error ? 0 : ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
          if (waiting > 0) return has_left() ? disconnect() : watch_later();
          const bool nothing_yet = waiting < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
          nothing_yet ? watch() : disconnect();
        }));
  }

  // While data of the next request is there, a wait for data ends at once and does not tell what follows it.
  void watch_later() {
    watching_ = true;
    look_again_.expires_after(std::chrono::seconds(1));
    look_again_.async_wait(CompletionHandler(held(), [this](error_code) {
      watching_ = false;
      if (answering_) watch();
    }));
  }

  bool has_left() {
    pollfd state{socket_.native_handle(), POLLRDHUP, 0};
    return ::poll(&state, 1, 0) > 0;
  }

  void disconnect() {
    const std::function<void()> work = std::exchange(disconnected_, nullptr);
    close();
    if (work) work();
  }

  std::string head_of(unsigned status, const std::string& content_type, const std::string& more) {
    if (context_->shutting_down) keep_alive_ = false;
    return fmt::format("HTTP/1.1 {} {}\r\nServer: outrider\r\nContent-Type: {}\r\nConnection: {}\r\n{}\r\n", status,
                       std::string(http::obsolete_reason(static_cast<http::status>(status))), content_type,
                       keep_alive_ ? "keep-alive" : "close", more);
  }

  void finish() {
    disconnected_ = nullptr;
    finished_ = true;
    unread_ = true;
    waiting_since_ = Clock::now().time_since_epoch().count();
    flush();
  }

  void flush() {
    if (!writing_.empty() || !socket_.is_open()) return;
    if (out_.empty()) {
      if (finished_) next();
      return;
    }
    writing_.swap(out_);
    try {
      if (answering_) set_deadline(context_->options.read_timeout);
      asio::async_write(socket_, asio::buffer(writing_),
                        CompletionHandler(held(), [this](error_code error, std::size_t) {
                          empty(writing_);
                          if (answering_) clear_deadline();
                          if (error) return disconnect();
                          flush();
                        }));
    } catch (const std::bad_alloc&) {
      disconnect();  // a part of the response cannot be sent
    }
  }

  // Between requests a connection does not keep the memory of a large response.
  static void empty(std::string& text) {
    text.clear();
    if (text.capacity() > kKeptBuffer) std::string().swap(text);
  }

  // Called at the end of each exchange.
  void report() {
    constexpr unsigned kClientGone = 499;  // nginx's
    if (exchange_.status == 0) exchange_.status = kClientGone;
    exchange_.seconds = std::chrono::duration<double>(Clock::now() - arrived_).count();
    try {
      if (context_->handlers.on_answered) context_->handlers.on_answered(exchange_);
    } catch (const std::bad_alloc&) {
      // What else is to be done at the end of an exchange matters more.
    }
  }

  void next() {
    unread_ = false;
    report();
    finished_ = false;
    answering_ = false;
    empty(out_);
    if (keep_alive_ && !context_->shutting_down) return read();
    // Waits for the client to close, so that data still in flight does not make the kernel discard the response.
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    set_deadline(2);
    discard();
  }

  void discard() {
    buffer_.clear();
    socket_.async_read_some(buffer_.prepare(4096), CompletionHandler(held(), [this](error_code error, std::size_t) {
                              if (error) return close();
                              discard();
                            }));
  }

  void close() {
    timer_.cancel();
    look_again_.cancel();
    {
      const std::lock_guard lock(closing_);
      error_code ignored;
      socket_.close(ignored);
    }
    gone_.request_stop();
    if (!std::exchange(answering_, false)) return;
    report();
    if (const std::function<void()> work = std::exchange(disconnected_, nullptr)) work();
  }

  Socket socket_;
  asio::steady_timer timer_;
  asio::steady_timer look_again_;
  std::shared_ptr<ConnectionContext> context_;
  std::string address_;
  std::string client_;  // with its port
  boost::beast::flat_buffer buffer_;
  std::optional<http::request_parser<RequestBody>> parser_;
  HttpRequest request_;         // its header
  bool begun_reading_ = false;  // a request has begun to arrive
  bool watching_ = false;
  static constexpr Clock::rep kBusy = std::numeric_limits<Clock::rep>::max();
  // Bytes that have arrived and are not parsed. Beyond the header, the line of a chunk and what follows the last one
  // would grow without a limit of their own.
  static constexpr std::size_t kMaxUnparsed = std::size_t{64} << 10;
  static constexpr std::size_t kKeptBuffer = std::size_t{64} << 10;
  std::atomic<Clock::rep> waiting_since_ = Clock::now().time_since_epoch().count();
  std::atomic<bool> unread_ = false;  // it waits for a complete response to be read
  std::mutex closing_;

  HttpExchange exchange_;
  Clock::time_point arrived_;  // when the request began to

  // Identifies the request that is being answered.
  std::size_t serial_ = 0;
  std::stop_source gone_;
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

namespace {

class Responder : public HttpResponder {
 public:
  Responder(std::shared_ptr<Connection> connection, std::size_t serial, std::stop_token gone, std::size_t body)
      : connection_(std::move(connection)), serial_(serial), gone_(std::move(gone)), body_(body) {}
  ~Responder() override {
    try {
      const bool out_of_memory = std::uncaught_exceptions() != 0;
      const unsigned status = out_of_memory ? 503 : 500;
      const char* const why = out_of_memory ? kOutOfMemory : "The server dropped the request without a response.";
      // After all that was posted before. The connection drops this response if there was one.
      post_to_connection([response = HttpResponse{status, "application/json", error_json(status, why), {}}](
                             Connection& c, std::size_t serial) {
        c.send(serial, response);
        c.end_stream(serial);
      });
    } catch (const std::exception&) {
      abort();
    }
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
  void abort() noexcept override { connection_->abort(); }
  void post(std::function<void()> work) override { connection_->post(std::move(work)); }
  void run_aside(std::function<void()> work) override { connection_->run_aside(std::move(work), gone_, body_); }
  void on_disconnect(std::function<void()> work) override {
    to_connection([work = std::move(work)](Connection& c, std::size_t serial) mutable {
      c.on_disconnect(serial, std::move(work));
    });
  }

 private:
  template <typename Work>
  void to_connection(Work work) {
    if (connection_->on_its_thread()) return work(*connection_, serial_);
    post_to_connection(std::move(work));
  }
  template <typename Work>
  void post_to_connection(Work work) {
    connection_->post([connection = connection_.get(), serial = serial_, work = std::move(work)]() mutable {
      work(*connection, serial);
    });
  }

  std::shared_ptr<Connection> connection_;
  std::size_t serial_;
  std::stop_token gone_;
  std::size_t body_;  // bytes
};

}  // namespace

void Connection::answer() {
  begin_answer();
  RequestBody::value_type& body = parser_->get().body();
  request_.body = std::move(body.text);
  request_.body_share = std::move(body.share);
  request_.gone = gone_.get_token();
  watch();
  const std::size_t bytes = request_.body.size();
  exchange_.request_bytes = bytes;
  auto responder = std::make_shared<Responder>(held(), serial_, gone_.get_token(), bytes);
  context_->handlers.handle(std::move(request_), std::move(responder));
}

void serve_connection(Socket socket, std::shared_ptr<ConnectionContext> context) {
  std::make_shared<Connection>(std::move(socket), std::move(context))->start();
}

}  // namespace outrider
