#include "outrider/server/http/http_server.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <exception>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "outrider/server/http/connection.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// Tells a client that there are too many, if that needs no waiting.
void turn_away(Socket& socket) {
  constexpr std::string_view kResponse =
      "HTTP/1.1 503 Service Unavailable\r\nServer: outrider\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
      "Connection: close\r\n\r\n";
  static_cast<void>(::send(socket.native_handle(), kResponse.data(), kResponse.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
}

}  // namespace

struct HttpServer::Parts {
  Parts(HttpOptions options, HttpHandlers handlers)
      : loops(std::max(options.threads, 1U)), acceptor(loops[0]), retry(loops[0]), aside(options.threads_aside) {
    const std::size_t pending = options.max_pending_bodies;
    shared->pending_bodies =
        std::make_shared<ByteBudget>(pending, std::min(pending / 8, pending - std::min(pending, options.max_body)));
    shared->options = std::move(options);
    shared->handlers = std::move(handlers);
    shared->aside = &aside;
  }

  void listen() {
    const HttpOptions& options = shared->options;
    const auto fail = [&](const error_code& error) {
      throw TemporaryError(fmt::format("Cannot listen on {} port {}: {}. Choose another with --host and --port.",
                                       options.host, options.port, error.message()));
    };
    error_code error;
    tcp::resolver resolver(loops[0]);
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

  // Exists while a handler waits for connections; whoever destroys the handler ends it.
  class Accepting {
   public:
    explicit Accepting(bool& is) : is_(&is) { is = true; }
    ~Accepting() {
      if (is_ != nullptr) *is_ = false;
    }
    Accepting(Accepting&& other) noexcept : is_(std::exchange(other.is_, nullptr)) {}
    Accepting& operator=(Accepting&&) = delete;

   private:
    bool* is_;
  };

  // On the first loop's thread, as what follows.
  void accept() {
    asio::io_context& next = loops[++last_loop % loops.size()];
    acceptor.async_accept(next, [this, waits = Accepting(accepting)](error_code error, Socket socket) mutable {
      { const Accepting called = std::move(waits); }
      if (error == asio::error::operation_aborted || !acceptor.is_open()) return;
      if (error) return accept_later();
      try {
        const std::size_t open = shared->open.size();
        if (open < shared->options.max_connections || shared->open.close_longest_waiting()) {
          serve_connection(std::move(socket), shared);
        } else {
          turn_away(socket);
          if (shared->handlers.on_refused) shared->handlers.on_refused(open);
        }
      } catch (const std::exception&) {
        // Out of memory. The socket is closed.
      }
      accept();
    });
  }
  // For instance, no file descriptors are left; some will be closed.
  void accept_later() {
    shared->open.close_longest_waiting();
    retry.expires_after(std::chrono::milliseconds(100));
    retry.async_wait([this, waits = Accepting(accepting)](error_code stopped) mutable {
      { const Accepting called = std::move(waits); }
      if (!stopped) accept();
    });
  }
  void go_on_accepting() {
    if (!accepting && acceptor.is_open()) accept();
  }

  // What a thread does. Where the loop itself finds no memory, the work that it had at hand is gone.
  void run(asio::io_context& loop) {
    const auto work = asio::make_work_guard(loop);
    while (!loop.stopped()) {
      try {
        if (&loop == &loops[0]) go_on_accepting();
        loop.run();
      } catch (const std::exception&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  }

  std::shared_ptr<ConnectionContext> shared = std::make_shared<ConnectionContext>();
  bool accepting = false;
  std::deque<asio::io_context> loops;  // a thread runs each; a connection belongs to one
  std::size_t last_loop = 0;
  tcp::acceptor acceptor;
  asio::steady_timer retry;
  std::uint16_t port = 0;
  std::vector<std::thread> threads;
  WorkQueue aside;  // destroyed first: its queue refers to connections
};

HttpServer::HttpServer(HttpOptions options, HttpHandlers handlers)
    : parts_(std::make_unique<Parts>(std::move(options), std::move(handlers))) {
  parts_->listen();
  for (asio::io_context& loop : parts_->loops) {
    parts_->threads.emplace_back([parts = parts_.get(), &loop] { parts->run(loop); });
  }
}

HttpServer::~HttpServer() {
  for (asio::io_context& loop : parts_->loops) loop.stop();
  for (std::thread& thread : parts_->threads) thread.join();
  parts_->shared->destroyed = true;
  parts_->shared->open.abandon();
}

std::uint16_t HttpServer::port() const {
  return parts_->port;
}

std::size_t HttpServer::connections() const {
  return parts_->shared->open.size();
}

void HttpServer::shut_down() {
  parts_->shared->shutting_down = true;
  asio::post(parts_->acceptor.get_executor(), [parts = parts_.get()] {
    error_code ignored;
    parts->acceptor.close(ignored);
    parts->retry.cancel();
  });
  parts_->shared->open.close_idle();
}

bool HttpServer::wait_closed(unsigned milliseconds) {
  return parts_->shared->open.wait_empty(milliseconds);
}

}  // namespace outrider
