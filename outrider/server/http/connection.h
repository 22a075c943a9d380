#pragma once

#include <atomic>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>

#include "outrider/server/http/byte_budget.h"
#include "outrider/server/http/connection_set.h"
#include "outrider/server/http/http_server.h"
#include "outrider/server/http/work_queue.h"

namespace outrider {

// Of an event loop that one thread runs. Strands would let any thread run it, but they allocate where Asio may not
// throw.
using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, boost::asio::io_context::executor_type>;

// What all connections of a server share; outlives it with the last of them.
struct ConnectionContext {
  HttpOptions options;
  HttpHandlers handlers;
  WorkQueue* aside = nullptr;  // outlives the connections' requests
  std::shared_ptr<ByteBudget> pending_bodies;
  std::atomic<bool> shutting_down = false;
  std::atomic<bool> destroyed = false;  // no loop runs any more
  ConnectionSet open;
};

// Answers the requests of one client until one of the two closes the connection.
void serve_connection(Socket socket, std::shared_ptr<ConnectionContext> context);

}  // namespace outrider
