#include "outrider/check/tensor_data.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "outrider/check/value_scan.h"

namespace outrider {
namespace {

constexpr std::uint64_t kPiece = 4 << 20;

}  // namespace

TensorData::TensorData(const Checkpoint& checkpoint) : checkpoint_(checkpoint), files_(checkpoint.files().size()) {
  for (std::size_t f = 0; f < files_.size(); ++f) {
    const ShardFile& file = checkpoint.files()[f];
    if (!file.present || file.tensor_count == 0 || file.path.empty()) continue;
    if (file.fault && *file.fault != HeaderFault::kTruncated && *file.fault != HeaderFault::kTrailing) continue;
    files_[f] = MappedFile(file.path);
  }
}

bool TensorData::readable(const TensorInfo& tensor) const {
  const ShardFile& file = checkpoint_.files()[tensor.file];
  return file.data_start + tensor.end <= files_[tensor.file].bytes().size();
}

std::span<const std::byte> TensorData::piece(const TensorInfo& tensor, std::uint64_t begin, std::uint64_t bytes) const {
  return files_[tensor.file].bytes().subspan(checkpoint_.files()[tensor.file].data_start + tensor.begin + begin, bytes);
}

void TensorData::drop(const TensorInfo& tensor, std::uint64_t begin, std::uint64_t bytes) const {
  files_[tensor.file].drop(checkpoint_.files()[tensor.file].data_start + tensor.begin + begin, bytes);
}

void TensorData::read(const TensorInfo& tensor, std::uint64_t begin, std::uint64_t bytes,
                      const std::function<void(std::span<const std::byte>)>& visit) const {
  for (std::uint64_t at = 0; at < bytes; at += kPiece) {
    const std::uint64_t count = std::min(kPiece, bytes - at);
    visit(piece(tensor, begin + at, count));
    drop(tensor, begin + at, count);
  }
}

std::uint64_t count_different_bytes(const TensorBytes& a, const TensorBytes& b, std::uint64_t size, bool any) {
  constexpr std::uint64_t kBytes = 1 << 20;
  std::uint64_t different = 0;
  for (std::uint64_t at = 0; at < a.bytes && !(any && different != 0); at += kBytes) {
    const std::uint64_t bytes = std::min(kBytes, a.bytes - at);
    const auto x = a.data.piece(a.tensor, a.begin + at, bytes);
    const auto y = b.data.piece(b.tensor, b.begin + at, bytes);
    if (std::memcmp(x.data(), y.data(), bytes) != 0) {
      for (std::uint64_t i = 0; i + size <= bytes && !(any && different != 0); i += size) {
        different += std::memcmp(x.data() + i, y.data() + i, size) != 0;
      }
    }
    a.data.drop(a.tensor, a.begin + at, bytes);
    b.data.drop(b.tensor, b.begin + at, bytes);
  }
  return different;
}

std::optional<std::uint64_t> count_different(const TensorData& a_data, const TensorInfo& a, const TensorData& b_data,
                                             const TensorInfo& b) {
  if (!a_data.readable(a) || !b_data.readable(b)) return std::nullopt;
  const unsigned a_bits = dtype_bits(a.dtype);
  const unsigned b_bits = dtype_bits(b.dtype);
  if (a.bytes() * 8 / a_bits != b.bytes() * 8 / b_bits) return std::nullopt;
  if (a.dtype == b.dtype) {
    return count_different_bytes({a_data, a, 0, a.bytes()}, {b_data, b, 0, b.bytes()}, std::max(1U, a_bits / 8));
  }
  if (!is_plain_float(a.dtype) || !is_plain_float(b.dtype)) return std::nullopt;
  const std::uint64_t a_size = a_bits / 8;
  const std::uint64_t b_size = b_bits / 8;
  const std::uint64_t elements = a.bytes() / a_size;
  std::uint64_t different = 0;
  const std::uint64_t step = kPiece / 8;
  for (std::uint64_t at = 0; at < elements; at += step) {
    const std::uint64_t count = std::min(step, elements - at);
    const auto x = a_data.piece(a, at * a_size, count * a_size);
    const auto y = b_data.piece(b, at * b_size, count * b_size);
    for (std::uint64_t i = 0; i < count; ++i) {
      different += std::bit_cast<std::uint32_t>(load_float(a.dtype, x.data() + i * a_size)) !=
                   std::bit_cast<std::uint32_t>(load_float(b.dtype, y.data() + i * b_size));
    }
    a_data.drop(a, at * a_size, count * a_size);
    b_data.drop(b, at * b_size, count * b_size);
  }
  return different;
}

}  // namespace outrider
