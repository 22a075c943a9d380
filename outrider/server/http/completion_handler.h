#pragma once

#include <exception>
#include <memory>
#include <utility>

namespace outrider {

// Calls `work` with the results of an operation of the `Owner`, which it keeps alive until then. If the work throws,
// for which only lack of memory is a reason, it calls the owner's run_out_of_memory(). If it is destroyed without being
// called, since there was not even the memory to call it, it calls Owner::lose(owner).
template <typename Owner, typename Work>
class CompletionHandler {
 public:
  CompletionHandler(std::shared_ptr<Owner> owner, Work work) : owner_(std::move(owner)), work_(std::move(work)) {}
  ~CompletionHandler() {
    if (owner_ != nullptr) Owner::lose(owner_);
  }
  CompletionHandler(CompletionHandler&&) noexcept = default;
  CompletionHandler& operator=(CompletionHandler&&) = delete;

  template <typename... Results>
  void operator()(Results... results) {
    const std::shared_ptr<Owner> owner = std::move(owner_);
    try {
      work_(results...);
    } catch (const std::exception&) {
      owner->run_out_of_memory();
    }
  }

 private:
  std::shared_ptr<Owner> owner_;  // null once called
  Work work_;
};

}  // namespace outrider
