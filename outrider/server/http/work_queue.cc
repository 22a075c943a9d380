#include "outrider/server/http/work_queue.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

namespace outrider {

WorkQueue::WorkQueue(unsigned threads) {
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
      client->second.push_back(std::move(work));
    } catch (const std::bad_alloc&) {
      if (client->second.empty()) lane.by_client.erase(client);
      throw;
    }
  }
  lane.wake.notify_one();
}

WorkQueue::Work WorkQueue::Lane::next() {
  auto client = by_client.upper_bound(last);
  if (client == by_client.end()) client = by_client.begin();
  try {
    last = client->first;
  } catch (const std::bad_alloc&) {
    // The client may have two turns.
  }
  Work work = std::move(client->second.front());
  client->second.pop_front();
  if (client->second.empty()) by_client.erase(client);
  return work;
}

void WorkQueue::serve(Lane& lane, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (lane.wake.wait(lock, stop, [&] { return !lane.by_client.empty(); }) && !stop.stop_requested()) {
    try {
      const Work work = lane.next();
      lock.unlock();
      if (!work.unwanted.stop_requested()) work.run();
    } catch (const std::exception&) {
      // Out of memory. What the work held is gone, and with it its responder, which has answered.
    }
    if (!lock.owns_lock()) lock.lock();
  }
}

}  // namespace outrider
