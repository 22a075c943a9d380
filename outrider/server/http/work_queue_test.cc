#include "outrider/server/http/work_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>

namespace outrider {
namespace {

// Work that holds a thread until it is told to end. Made before the queue, whose threads use it until that is gone.
class Held {
 public:
  WorkQueue::Work work(std::string client, std::size_t bytes) {
    return {[this] {
              begun_.set_value();
              end_.get_future().wait();
            },
            {},
            std::move(client),
            bytes};
  }
  void wait_begun() { begun_.get_future().wait(); }
  void end() { end_.set_value(); }

 private:
  std::promise<void> begun_;
  std::promise<void> end_;
};

TEST(WorkQueue, SmallWorkDoesNotWaitForLargeWork) {
  Held large;
  std::promise<void> done;
  WorkQueue queue(1);
  queue.add(large.work("a", WorkQueue::kLarge));
  large.wait_begun();
  queue.add({[&] { done.set_value(); }, {}, "a", 100});
  done.get_future().wait();
  large.end();
}

TEST(WorkQueue, NoClientHasAllThreads) {
  Held first;
  std::promise<void> second;
  std::promise<void> other;
  WorkQueue queue(2);
  queue.add(first.work("a", 0));
  first.wait_begun();
  queue.add({[&] { second.set_value(); }, {}, "a", 0});
  std::future<void> done = second.get_future();
  EXPECT_EQ(done.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  queue.add({[&] { other.set_value(); }, {}, "b", 0});
  other.get_future().wait();
  first.end();
  done.wait();
}

TEST(WorkQueue, ClientsTakeTurns) {
  std::vector<std::string> order;
  {
    Held first;
    std::promise<void> last;
    WorkQueue queue(1);
    queue.add(first.work("a", 0));
    first.wait_begun();
    for (const char* client : {"a", "a", "a", "b", "c", "b"}) {
      queue.add({[&, client] {
                   order.emplace_back(client);
                   if (order.size() == 6) last.set_value();
                 },
                 {},
                 client,
                 0});
    }
    first.end();
    last.get_future().wait();
  }
  EXPECT_THAT(order, ::testing::ElementsAre("b", "c", "a", "b", "a", "a"));
}

TEST(WorkQueue, LeavesOutWhatIsUnwanted) {
  Held first;
  std::stop_source gone;
  bool ran = false;
  std::promise<void> done;
  WorkQueue queue(1);
  queue.add(first.work("a", 0));
  first.wait_begun();
  queue.add({[&] { ran = true; }, gone.get_token(), "a", 0});
  gone.request_stop();
  queue.add({[&] { done.set_value(); }, {}, "a", 0});
  first.end();
  done.get_future().wait();
  EXPECT_FALSE(ran);
}

TEST(WorkQueue, OutlivesWhatWorkThrows) {
  std::promise<void> done;
  WorkQueue queue(1);
  queue.add({[] { throw std::bad_alloc(); }, {}, "a", 0});
  queue.add({[&] { done.set_value(); }, {}, "a", 0});
  done.get_future().wait();
}

TEST(WorkQueue, DropsWhatWaitsWhenItEnds) {
  auto held = std::make_shared<int>(1);
  bool ran = false;
  Held first;
  {
    auto queue = std::make_unique<WorkQueue>(1);
    queue->add(first.work("a", 0));
    first.wait_begun();
    queue->add({[held, &ran] { ran = true; }, {}, "a", 0});
    std::thread ending([&] { queue.reset(); });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // so that it has asked the threads to end
    first.end();
    ending.join();
  }
  EXPECT_FALSE(ran);
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace outrider
