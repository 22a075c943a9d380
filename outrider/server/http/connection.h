#pragma once

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <memory>

#include "outrider/server/http/byte_budget.h"
#include "outrider/server/http/connection_set.h"
#include "outrider/server/http/http_server.h"
#include "outrider/server/http/work_queue.h"

namespace outrider {

// What all connections of a server share; outlives it with the last of them.
struct ConnectionContext {
  HttpOptions options;
  HttpHandlers handlers;
  WorkQueue* aside = nullptr;  // outlives the connections' requests
  std::shared_ptr<ByteBudget> pending_bodies;
  std::atomic<bool> shutting_down = false;
  ConnectionSet open;
};

// Answers the requests of one client until one of the two closes the connection.
void serve_connection(boost::asio::ip::tcp::socket socket, std::shared_ptr<ConnectionContext> context);

}  // namespace outrider
