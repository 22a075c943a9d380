#pragma once

#include <cstddef>
#include <memory>
#include <mutex>

namespace outrider {

// A number of bytes that many may hold parts of.
class ByteBudget {
 public:
  explicit ByteBudget(std::size_t bytes) : left_(bytes) {}

  // A part that grows; it is given back when it is destroyed.
  class Share {
   public:
    explicit Share(std::shared_ptr<ByteBudget> budget) : budget_(std::move(budget)) {}
    ~Share() { budget_->give_back(bytes_); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    // Returns whether `bytes` more were left.
    bool grow(std::size_t bytes) {
      if (!budget_->take(bytes)) return false;
      bytes_ += bytes;
      return true;
    }

   private:
    std::shared_ptr<ByteBudget> budget_;
    std::size_t bytes_ = 0;
  };

 private:
  bool take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (bytes > left_) return false;
    left_ -= bytes;
    return true;
  }
  void give_back(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    left_ += bytes;
  }

  std::mutex mutex_;
  std::size_t left_;
};

}  // namespace outrider
