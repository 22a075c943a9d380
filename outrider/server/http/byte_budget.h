#pragma once

#include <cstddef>
#include <memory>
#include <mutex>

namespace outrider {

// A limit in bytes that several users share. The last `reserve` bytes are for small shares, so that large ones do not
// keep everybody out.
class ByteBudget {
 public:
  static constexpr std::size_t kSmall = std::size_t{256} << 10;

  explicit ByteBudget(std::size_t bytes, std::size_t reserve = 0) : left_(bytes), reserve_(reserve) {}

  // A part that grows; it is given back when it is destroyed.
  class Share {
   public:
    explicit Share(std::shared_ptr<ByteBudget> budget) : budget_(std::move(budget)) {}
    ~Share() { budget_->give_back(bytes_); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    // Returns whether `bytes` more were left.
    bool grow(std::size_t bytes) {
      if (!budget_->take(bytes, bytes_ + bytes > kSmall)) return false;
      bytes_ += bytes;
      return true;
    }

   private:
    std::shared_ptr<ByteBudget> budget_;
    std::size_t bytes_ = 0;
  };

 private:
  bool take(std::size_t bytes, bool large) {
    const std::lock_guard lock(mutex_);
    if (bytes > left_ || (large && left_ - bytes < reserve_)) return false;
    left_ -= bytes;
    return true;
  }
  void give_back(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    left_ += bytes;
  }

  std::mutex mutex_;
  std::size_t left_;
  std::size_t reserve_;
};

}  // namespace outrider
