#include <algorithm>
#include <cmath>
#include <vector>

#include "outrider/backend/cpu/chunk_rows.h"
#include "outrider/backend/cpu/cpu_backend.h"

namespace outrider {
namespace {

// Slots that share a running maximum. If weights are rounded, the result depends on it.
constexpr std::size_t kSlotBlock = 64;
constexpr std::size_t kAttentionWorkOfAThread = 1 << 14;

// The keys that one row's query attends to: positions of the window, then compressed entries.
struct Visible {
  std::uint64_t position(std::size_t slot) const {
    return first_position + (slot < ring ? (slot + ring - first_position % ring) % ring : slot);
  }

  std::uint64_t first_position = 0;
  std::size_t ring = 0;  // the first slots: a ring, in which position p has slot p % ring
  std::size_t positions = 0;
  std::size_t slots = 0;  // of the window, used or not
  std::size_t entries = 0;
  const std::uint32_t* selected = nullptr;  // entry numbers; null: the first `entries`
};

// Attention of some heads of one row, with an online softmax over blocks of slots. The window has the same number of
// slots at every position, used or not, so that block boundaries do not depend on how the sequence was divided into
// passes.
class RowAttention {
 public:
  RowAttention(const Compute& compute, const Attention& attention, const Rows& q, const Rows& kv)
      : compute_(compute),
        attention_(attention),
        q_(q),
        kv_(kv),
        keys_(kSlotBlock, kv.cols()),
        scores_(kSlotBlock * attention.sink.size()) {}

  void run(const Chunk& chunk, std::size_t row, const Visible& visible, std::size_t first_head, std::size_t end_head,
           Rows& out) {
    const std::size_t heads = end_head - first_head;
    const std::size_t window = visible.slots;
    max_.assign(heads, -INFINITY);
    sum_.assign(heads, 0.0F);
    first_query_ = row * attention_.sink.size() + first_head;
    for (std::size_t h = 0; h < heads; ++h) std::ranges::fill(out[first_query_ + h], 0.0F);
    for (std::size_t slot = 0; slot < window + visible.entries; slot += kSlotBlock) {
      if (slot >= visible.positions && slot + kSlotBlock <= window) {
        slot = (window - 1) / kSlotBlock * kSlotBlock;  // the slots in between are unused
      }
      std::size_t count = 0;
      for (std::size_t s = slot; s < std::min(slot + kSlotBlock, window + visible.entries); ++s) {
        if (s < window) {
          if (s >= visible.positions) continue;
          load_row(chunk, kv_, *chunk.window, visible.position(s), keys_[count++].data());
        } else {
          const std::size_t e = visible.selected == nullptr ? s - window : visible.selected[s - window];
          chunk.compressor->entries.load(e, keys_[count++].data());
        }
      }
      if (count != 0) add_block(count, heads, out);
    }
    for (std::size_t h = 0; h < heads; ++h) {
      const float sum = sum_[h] + std::exp(attention_.sink[first_head + h] - max_[h]);
      const std::span<float> o = out[first_query_ + h];
      for (float& v : o) v /= sum;
      compute_.round(o);
    }
  }

 private:
  void add_block(std::size_t count, std::size_t heads, Rows& out) {
    const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(kv_.cols())));
    for (std::size_t k = 0; k < count; k += kRowTile) {
      compute_.kernels.dot_rows(keys_[k].data(), std::min(kRowTile, count - k), q_[first_query_].data(), heads,
                                q_.stride(), q_.stride(), scores_.data() + k, 1, kSlotBlock);
    }
    for (std::size_t h = 0; h < heads; ++h) {
      float* scores = scores_.data() + h * kSlotBlock;
      float max = max_[h];
      for (std::size_t k = 0; k < count; ++k) max = std::max(max, scores[k] *= scale);
      const std::span<float> o = out[first_query_ + h];
      const float rescale = std::exp(max_[h] - max);
      for (float& v : o) v *= rescale;
      float sum = 0.0F;
      for (std::size_t k = 0; k < count; ++k) {
        scores[k] = std::exp(scores[k] - max);
        sum += scores[k];
      }
      compute_.round({scores, count});
      compute_.kernels.add_scaled_rows(scores, keys_[0].data(), count, keys_.stride(), keys_.cols(), o.data());
      sum_[h] = sum_[h] * rescale + sum;
      max_[h] = max;
    }
  }

  const Compute& compute_;
  const Attention& attention_;
  const Rows& q_;
  const Rows& kv_;
  Rows keys_;
  std::vector<float> scores_;
  std::vector<float> max_;
  std::vector<float> sum_;
  std::size_t first_query_ = 0;
};

}  // namespace

void CpuBackend::attend(const Attention& attention, const Batch& batch, const Rows& q, const Rows& kv, Rows& out) {
  const std::size_t heads = attention.sink.size();
  std::vector<const Chunk*> chunk_of(kv.rows());
  for (const Chunk& chunk : batch.chunks) {
    std::fill_n(chunk_of.begin() + static_cast<std::ptrdiff_t>(chunk.first_row), chunk.rows, &chunk);
  }
  const std::size_t grain = kAttentionWorkOfAThread / (attention.window * q.cols()) + 1;
  pool_.ranges(q.rows(), grain, [&](std::size_t begin, std::size_t end) {
    RowAttention row_attention(compute_, attention, q, kv);
    while (begin < end) {
      const std::size_t row = begin / heads;
      const std::size_t stop = std::min(end, (row + 1) * heads);
      const std::uint64_t seen = batch.positions[row] + 1;
      Visible visible;
      if (attention.bidirectional) {
        const Chunk& chunk = *chunk_of[row];
        // The release takes the window as its ring has it, and then the chunk.
        const auto before = std::min<std::uint64_t>(chunk.start, attention.window);
        visible.ring = before;
        visible.slots = visible.positions = before + chunk.rows;
        visible.first_position = chunk.start - before;
      } else {
        visible.slots = attention.window;
        visible.positions = std::min<std::uint64_t>(seen, attention.window);
        visible.first_position = seen - visible.positions;
      }
      if (attention.ratio != 0) visible.entries = seen / attention.ratio;
      if (attention.selected != nullptr) {
        visible.entries = std::min(visible.entries, attention.selected->cols());
        visible.selected = (*attention.selected)[row].data();
      }
      row_attention.run(*chunk_of[row], row, visible, begin - row * heads, stop - row * heads, out);
      begin = stop;
    }
  });
}

}  // namespace outrider
