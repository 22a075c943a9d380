#include "outrider/server/http/connection_set.h"

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
  OpenConnection::Clock::time_point since;
  for (auto& connection : live()) {
    const auto waiting = connection->waiting_since();
    if (!waiting || (longest != nullptr && *waiting >= since)) continue;
    longest = std::move(connection);
    since = *waiting;
  }
  if (longest == nullptr) return false;
  longest->close_if_waiting();
  // It closes soon; another is to be chosen meanwhile.
  erase(*longest);
  return true;
}

bool ConnectionSet::wait_empty(unsigned milliseconds) {
  std::unique_lock lock(mutex_);
  return empty_.wait_for(lock, std::chrono::milliseconds(milliseconds), [this] { return open_.empty(); });
}

}  // namespace outrider
