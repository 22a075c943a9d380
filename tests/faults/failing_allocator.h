#pragma once

#include <cstddef>
#include <vector>

// This program's operator new, which can be made to fail.
namespace outrider::testing {

// Allocations of this thread neither count nor fail while one of these exists.
class Exempt {
 public:
  Exempt();
  ~Exempt();
  Exempt(const Exempt&) = delete;
  Exempt& operator=(const Exempt&) = delete;

 private:
  bool before_;
};

// From now on, counts allocations, of all threads, and lets `count` of them fail from the `first` on, which is 1 for
// the next. 0: none.
void fail_allocations(std::size_t first, std::size_t count = 1);
// Counts them and notes where each comes from.
void record_allocations();

struct Allocations {
  std::size_t made = 0;
  std::size_t failed = 0;
  // By the place that they come from, if they were recorded: the number of its first one, and of the one in the middle.
  std::vector<std::size_t> first_of_place;
  std::vector<std::size_t> middle_of_place;
};
// Ends either.
Allocations end_failures();

}  // namespace outrider::testing
