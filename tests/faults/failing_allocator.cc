#include "tests/faults/failing_allocator.h"

#include <execinfo.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <unordered_map>
#include <vector>

namespace outrider::testing {
namespace {

constexpr std::size_t kFrames = 24;
constexpr std::size_t kMostRecorded = std::size_t{1} << 18;

// All of it is trivially initialised: allocations happen before main().
thread_local bool exempt = false;
std::atomic<bool> armed = false;
std::atomic<bool> recording = false;
std::atomic<std::size_t> made = 0;
std::atomic<std::size_t> failed = 0;
std::atomic<std::size_t> first_to_fail = 0;
std::atomic<std::size_t> last_to_fail = 0;
std::array<std::uint64_t, kMostRecorded> places{};

std::uint64_t place() {
  std::array<void*, kFrames> frames{};
  const int count = backtrace(frames.data(), kFrames);
  std::uint64_t hash = 0;
  for (int i = 0; i < count; ++i) hash = (hash ^ reinterpret_cast<std::uintptr_t>(frames[i])) * 0x9e3779b97f4a7c15;
  return hash;
}

bool fails() {
  if (!armed.load(std::memory_order_relaxed) || exempt) return false;
  const std::size_t number = ++made;
  if (recording) {
    exempt = true;
    if (number <= kMostRecorded) places[number - 1] = place();
    exempt = false;
  }
  if (number < first_to_fail || number > last_to_fail) return false;
  ++failed;
  return true;
}

}  // namespace

void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
  if (fails()) return nullptr;
  if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes == 0 ? 1 : bytes);
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
  void* const at = allocate(bytes, alignment);
  if (at == nullptr) throw std::bad_alloc();
  return at;
}

Exempt::Exempt() : before_(exempt) {
  exempt = true;
}

Exempt::~Exempt() {
  exempt = before_;
}

void fail_allocations(std::size_t first, std::size_t count) {
  made = 0;
  failed = 0;
  first_to_fail = first == 0 ? SIZE_MAX : first;
  last_to_fail = first == 0 ? 0 : first + count - 1;
  armed = true;
}

void record_allocations() {
  place();  // loads the unwinder
  recording = true;
  fail_allocations(0);
}

Allocations end_failures() {
  armed = false;
  Allocations ended = {made, failed, {}, {}};
  if (!recording.exchange(false)) return ended;
  std::unordered_map<std::uint64_t, std::vector<std::size_t>> numbers;
  for (std::size_t i = 0; i < ended.made && i < kMostRecorded; ++i) {
    std::vector<std::size_t>& of_place = numbers[places[i]];
    if (of_place.empty()) ended.first_of_place.push_back(i + 1);
    of_place.push_back(i + 1);
  }
  for (const std::size_t first : ended.first_of_place) {
    const std::vector<std::size_t>& of_place = numbers[places[first - 1]];
    ended.middle_of_place.push_back(of_place[of_place.size() / 2]);
  }
  return ended;
}

}  // namespace outrider::testing

using outrider::testing::allocate;
using outrider::testing::allocate_or_throw;
constexpr std::size_t kUsual = alignof(std::max_align_t);

void* operator new(std::size_t bytes) {
  return allocate_or_throw(bytes, kUsual);
}
void* operator new[](std::size_t bytes) {
  return allocate_or_throw(bytes, kUsual);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, kUsual);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, kUsual);
}
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(bytes, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* at) noexcept {
  std::free(at);
}
[[gnu::noinline]] void operator delete[](void* at) noexcept {
  std::free(at);
}
[[gnu::noinline]] void operator delete(void* at, std::size_t) noexcept {
  std::free(at);
}
[[gnu::noinline]] void operator delete[](void* at, std::size_t) noexcept {
  std::free(at);
}
[[gnu::noinline]] void operator delete(void* at, std::align_val_t) noexcept {
  std::free(at);
}
[[gnu::noinline]] void operator delete[](void* at, std::align_val_t) noexcept {
  std::free(at);
}
[[gnu::noinline]] void operator delete(void* at, std::size_t, std::align_val_t) noexcept {
  std::free(at);
}
[[gnu::noinline]] void operator delete[](void* at, std::size_t, std::align_val_t) noexcept {
  std::free(at);
}
