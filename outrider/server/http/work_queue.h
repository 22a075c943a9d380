#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace outrider {

// Threads that work on the bodies of requests. Clients take turns, each with its oldest work, and none has all threads
// for small work. Large work has a thread of its own, at a low priority, so that small work never waits for it.
class WorkQueue {
 public:
  static constexpr std::size_t kLarge = std::size_t{256} << 10;  // bytes

  struct Work {
    std::function<void()> run;  // what it throws ends nothing
    std::stop_token unwanted;   // not run once stop is requested
    std::string client;
    std::size_t bytes = 0;
  };

  // `threads` for small work, at least 1.
  explicit WorkQueue(unsigned threads);
  // Waits for the work that has begun; the rest is dropped.
  ~WorkQueue();
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  void add(Work work);

 private:
  // The work of clients that take turns.
  struct Lane {
    struct Client {
      std::deque<Work> waiting;
      unsigned running = 0;
    };
    using Clients = std::map<std::string, Client>;

    Clients by_client;  // those with work
    std::string last;   // whose turn it was
    unsigned most_of_a_client = 1;
    std::condition_variable_any wake;

    Clients::iterator next();  // whose turn it is; the end if nobody's
    void forget_if_idle(Clients::iterator client);
  };

  void serve(Lane& lane, const std::stop_token& stop);

  std::mutex mutex_;
  Lane small_;
  Lane large_;
  std::vector<std::jthread> threads_;  // destroyed first
};

}  // namespace outrider
