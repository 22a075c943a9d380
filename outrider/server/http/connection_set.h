#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_set>
#include <vector>

namespace outrider {

// A connection, as the server sees it. May be used from any thread.
class OpenConnection : public std::enable_shared_from_this<OpenConnection> {
 public:
  using Clock = std::chrono::steady_clock;

  virtual ~OpenConnection() = default;

  // Closes it unless a request has begun to arrive or is being answered.
  virtual void close_if_idle() = 0;
  // Since when it has waited for its client: for the header of a request, or for a complete response to be read.
  // Nothing while it has a request.
  virtual std::optional<Clock::time_point> waiting_since() const = 0;
  // It waits for a response to be read.
  virtual bool has_unread_response() const = 0;
  // Closes it if it still waits; otherwise puts it back into the set.
  virtual void close_if_waiting() = 0;
  // Nobody wants its work any more. Only once no thread of the server runs.
  virtual void abandon() = 0;
};

// The open connections of a server.
class ConnectionSet {
 public:
  void insert(OpenConnection& connection);
  void erase(OpenConnection& connection);

  std::size_t size() const;
  void close_idle();
  void abandon();
  // Closes the connection that has waited longest for a request, or if none does, for a response to be read. Returns
  // false if none waits.
  bool close_longest_waiting();
  // Returns whether the last one closed within the time.
  bool wait_empty(unsigned milliseconds);

 private:
  // Those that are not under destruction.
  std::vector<std::shared_ptr<OpenConnection>> live() const;

  mutable std::mutex mutex_;
  std::condition_variable empty_;
  std::unordered_set<OpenConnection*> open_;
};

}  // namespace outrider
