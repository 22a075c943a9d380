#include "outrider/server/http/work_queue.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

namespace outrider {

WorkQueue::WorkQueue(unsigned threads) {
  small_.most_of_a_client = std::max(threads, 2U) - 1;
  for (unsigned i = 0; i < std::max(threads, 1U); ++i) {
    threads_.emplace_back([this](const std::stop_token& stop) { serve(small_, stop); });
  }
  threads_.emplace_back([this](const std::stop_token& stop) {
    constexpr int kNice = 10;  // a tenth of a processor beside a thread that computes
    setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
    serve(large_, stop);
  });
}

WorkQueue::~WorkQueue() {
  for (std::jthread& thread : threads_) thread.request_stop();
}

void WorkQueue::add(Work work) {
  Lane& lane = work.bytes < kLarge ? small_ : large_;
  {
    const std::lock_guard lock(mutex_);
    const auto client = lane.by_client.try_emplace(work.client).first;
    try {
      client->second.waiting.push_back(std::move(work));
    } catch (const std::bad_alloc&) {
      lane.forget_if_idle(client);
      throw;
    }
  }
  lane.wake.notify_one();
}

void WorkQueue::Lane::forget_if_idle(Clients::iterator client) {
  if (client->second.waiting.empty() && client->second.running == 0) by_client.erase(client);
}

WorkQueue::Lane::Clients::iterator WorkQueue::Lane::next() {
  const auto may_run = [this](const Clients::value_type& client) {
    return !client.second.waiting.empty() && client.second.running < most_of_a_client;
  };
  const auto after = by_client.upper_bound(last);
  const auto found = std::find_if(after, by_client.end(), may_run);
  if (found != by_client.end()) return found;
  const auto first = std::find_if(by_client.begin(), after, may_run);
  return first != after ? first : by_client.end();
}

void WorkQueue::serve(Lane& lane, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  Lane::Clients::iterator client;
  const auto found = [&] { return (client = lane.next()) != lane.by_client.end(); };
  while (lane.wake.wait(lock, stop, found) && !stop.stop_requested()) {
    try {
      lane.last = client->first;
    } catch (const std::bad_alloc&) {
      // The client may have two turns.
    }
    ++client->second.running;
    try {
      const Work work = std::move(client->second.waiting.front());
      client->second.waiting.pop_front();
      lock.unlock();
      if (!work.unwanted.stop_requested()) work.run();
    } catch (const std::exception&) {
      // Out of memory. What the work held is gone, and with it its responder, which has answered.
    }
    if (!lock.owns_lock()) lock.lock();
    --client->second.running;
    lane.forget_if_idle(client);
  }
}

}  // namespace outrider
