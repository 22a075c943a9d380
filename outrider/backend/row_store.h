#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace outrider {

// A table of vectors that is written and read row by row, stored as BF16 or float. Writing a row is what touches its
// memory.
class RowStore {
 public:
  RowStore() = default;
  RowStore(std::size_t rows, std::size_t cols, bool as_bf16);

  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }
  void store(std::size_t row, std::span<const float> values);
  void load(std::size_t row, float* out) const;  // cols() floats

 private:
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
  std::unique_ptr<std::uint16_t[]> bf16_;
  std::unique_ptr<float[]> float_;
};

// A compressor's state for one sequence.
struct CompressorState {
  // Outputs of wkv and wgate (ape added) of the last positions, at position % rows: an entry whose window ends in
  // rolled-back tokens is computed again from them.
  RowStore kv;
  RowStore gate;
  RowStore entries;  // by window
};

}  // namespace outrider
