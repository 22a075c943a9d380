#include "outrider/server/http/work_queue.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
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
    lane.by_client[work.client].push_back(std::move(work));
  }
  lane.wake.notify_one();
}

WorkQueue::Work WorkQueue::Lane::next() {
  auto client = by_client.upper_bound(last);
  if (client == by_client.end()) client = by_client.begin();
  last = client->first;
  Work work = std::move(client->second.front());
  client->second.pop_front();
  if (client->second.empty()) by_client.erase(client);
  return work;
}

void WorkQueue::serve(Lane& lane, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (lane.wake.wait(lock, stop, [&] { return !lane.by_client.empty(); }) && !stop.stop_requested()) {
    Work work = lane.next();
    lock.unlock();
    try {
      if (!work.unwanted.stop_requested()) work.run();
      work = {};  // what it holds is released on this thread, without the lock
    } catch (const std::exception&) {
      // Out of memory. What the work held is gone, and with it its responder, which has answered.
    }
    lock.lock();
  }
}

}  // namespace outrider
