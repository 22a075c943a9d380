#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/server/http/connection.h"
#include "outrider/testing/fuzz_target.h"

namespace asio = boost::asio;
using outrider::testing::require;

namespace {

// What a connection understood.
struct Exchange {
  std::vector<std::string> requests;
  std::string answers;
};

// Sends `text` to a connection in pieces, whose lengths `lengths` determines; at once if it is empty.
Exchange exchange(std::string_view text, std::string_view lengths) {
  Exchange out;
  std::array<int, 2> ends{};
  require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) == 0);
  asio::io_context io;
  auto context = std::make_shared<outrider::ConnectionContext>();
  context->options.max_header = 1024;
  context->options.max_body = 512;
  context->pending_bodies = std::make_shared<outrider::ByteBudget>(1024);
  context->handlers.handle = [&](const outrider::HttpRequest& request, const auto& responder) {
    require(request.body.size() <= 512);
    out.requests.push_back(request.method + ' ' + request.path + '\n' + request.content_type + '\n' +
                           request.authorization + '\n' + request.body);
    responder->send({200, "text/plain", request.body, {}});
  };
  const auto receive = [&] {
    std::array<char, 4096> buffer{};
    for (ssize_t got = 0; (got = recv(ends[1], buffer.data(), buffer.size(), 0)) > 0;) {
      out.answers.append(buffer.data(), static_cast<std::size_t>(got));
    }
  };
  const auto settle = [&] {
    while (io.poll() != 0) receive();
    receive();
  };
  outrider::Socket socket(io);
  socket.assign(asio::ip::tcp::v4(), ends[0]);
  serve_connection(std::move(socket), context);
  for (std::size_t i = 0; !text.empty(); ++i) {
    const std::size_t length = std::min<std::size_t>(
        text.size(), lengths.empty() ? 4096 : 1 + static_cast<unsigned char>(lengths[i % lengths.size()]));
    if (send(ends[1], text.data(), length, MSG_NOSIGNAL) < 0) break;  // it was closed
    text.remove_prefix(length);
    settle();
  }
  shutdown(ends[1], SHUT_WR);
  io.run();
  receive();
  close(ends[1]);
  require(context->open.size() == 0);
  return out;
}

}  // namespace

// Any bytes that a client sends are answered with HTTP or not at all, and are understood as the same requests however
// they arrive.
FUZZ_TARGET(http_connection) {
  const std::size_t count = input.empty() ? 0 : static_cast<unsigned char>(input.front()) % 8;
  const std::string_view lengths = input.substr(0, std::min(input.size(), count + 1));
  const std::string_view text = input.substr(lengths.size(), 4096);
  const Exchange whole = exchange(text, {});
  require(whole.answers.empty() || whole.answers.starts_with("HTTP/1.1 "));
  if (!lengths.empty()) require(exchange(text, lengths).requests == whole.requests);
}
