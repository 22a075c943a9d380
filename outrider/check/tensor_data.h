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

// Reads the bytes of any tensor of a checkpoint, complete or not, for diagnosis: in pieces, releasing memory behind it.
// (Engines get weights from Weights, which requires a complete plan.)
class TensorData {
 public:
  explicit TensorData(const Checkpoint& checkpoint);

  // Whether the file is present and long enough.
  bool readable(const TensorInfo& tensor) const;
  // Calls `visit` with consecutive pieces of bytes [begin, begin + bytes), each of at most 4 MiB and a multiple of 8
  // bytes except the last.
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
// The number of elements of `size` bytes that differ between two ranges of equal length; with `any`, 1 at most.
std::uint64_t count_different_bytes(const TensorBytes& a, const TensorBytes& b, std::uint64_t size, bool any = false);

// The number of values that differ between two tensors with equally many elements: compares bytes of equal dtypes,
// otherwise BF16, F16 and F32 after widening. Nothing if they cannot be compared.
std::optional<std::uint64_t> count_different(const TensorData& a_data, const TensorInfo& a, const TensorData& b_data,
                                             const TensorInfo& b);

}  // namespace outrider
