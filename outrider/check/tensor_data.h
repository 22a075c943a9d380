#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "outrider/checkpoint/checkpoint.h"
#include "outrider/files/mapped_file.h"

namespace outrider {

// Reads the bytes of any tensor of a checkpoint, complete or not, for diagnosis: piece by piece, giving memory back
// behind itself. (An engine gets weights from Weights, which takes a complete plan.)
class TensorData {
 public:
  explicit TensorData(const Checkpoint& checkpoint);

  // Whether the file is there and long enough.
  bool readable(const TensorInfo& tensor) const;
  // Calls `visit` with consecutive pieces of bytes [begin, begin + bytes), each of at most 4 MiB and a multiple of 8
  // bytes but the last.
  void read(const TensorInfo& tensor, std::uint64_t begin, std::uint64_t bytes,
            const std::function<void(std::span<const std::byte>)>& visit) const;
  void read(const TensorInfo& tensor, const std::function<void(std::span<const std::byte>)>& visit) const {
    read(tensor, 0, tensor.bytes(), visit);
  }
  std::span<const std::byte> piece(const TensorInfo& tensor, std::uint64_t begin, std::uint64_t bytes) const;
  void drop(const TensorInfo& tensor, std::uint64_t begin, std::uint64_t bytes) const;

 private:
  const Checkpoint& checkpoint_;
  std::vector<MappedFile> files_;
};

// Bytes [begin, begin + bytes) of a tensor.
struct TensorBytes {
  const TensorData& data;
  const TensorInfo& tensor;
  std::uint64_t begin;
  std::uint64_t bytes;
};
// How many elements of `size` bytes differ between two ranges as long as each other; with `any`, 1 at the most.
std::uint64_t count_different_bytes(const TensorBytes& a, const TensorBytes& b, std::uint64_t size, bool any = false);

// How many values differ between two tensors of the same number of elements: of the same dtype by their bytes,
// otherwise BF16, F16 and F32 after widening. Nothing where they cannot be compared.
std::optional<std::uint64_t> count_different(const TensorData& a_data, const TensorInfo& a, const TensorData& b_data,
                                             const TensorInfo& b);

}  // namespace outrider
