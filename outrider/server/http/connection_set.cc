#include "outrider/server/http/connection_set.h"

#include <new>
#include <utility>

namespace outrider {

void ConnectionSet::insert(OpenConnection& connection) {
  const std::lock_guard lock(mutex_);
  open_.insert(&connection);
}

void ConnectionSet::erase(OpenConnection& connection) {
  const std::lock_guard lock(mutex_);
  open_.erase(&connection);
  if (open_.empty()) empty_.notify_all();
}

std::size_t ConnectionSet::size() const {
  const std::lock_guard lock(mutex_);
  return open_.size();
}

std::vector<std::shared_ptr<OpenConnection>> ConnectionSet::live() const {
  std::vector<std::shared_ptr<OpenConnection>> out;
  const std::lock_guard lock(mutex_);
  for (OpenConnection* connection : open_) {
    if (auto held = connection->weak_from_this().lock()) out.push_back(std::move(held));
  }
  return out;
}

void ConnectionSet::close_idle() {
  for (const auto& connection : live()) connection->close_if_idle();
}

void ConnectionSet::abandon() {
  for (const auto& connection : live()) connection->abandon();
}

bool ConnectionSet::close_longest_waiting() {
  std::shared_ptr<OpenConnection> longest;
  // An idle one is chosen before one whose client may still read.
  std::pair<bool, OpenConnection::Clock::time_point> best;
  for (auto& connection : live()) {
    const auto since = connection->waiting_since();
    if (!since) continue;
    const std::pair waiting(connection->has_unread_response(), *since);
    if (longest != nullptr && waiting >= best) continue;
    longest = std::move(connection);
    best = waiting;
  }
  if (longest == nullptr) return false;
  // It closes soon; another is to be chosen meanwhile.
  std::unique_lock lock(mutex_);
  auto node = open_.extract(longest.get());
  lock.unlock();
  try {
    longest->close_if_waiting();
  } catch (const std::bad_alloc&) {
    lock.lock();
    open_.insert(std::move(node));
    throw;
  }
  return true;
}

bool ConnectionSet::wait_empty(unsigned milliseconds) {
  std::unique_lock lock(mutex_);
  return empty_.wait_for(lock, std::chrono::milliseconds(milliseconds), [this] { return open_.empty(); });
}

}  // namespace outrider
