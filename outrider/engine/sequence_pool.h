#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "outrider/decoding/decoder.h"
#include "outrider/decoding/processed_sequence.h"

namespace outrider {

// All sequences, allocated once. Those of finished requests are kept for prefix reuse until they are evicted, least
// recently used first.
class SequencePool {
 public:
  // Throws Error if there is not enough memory.
  SequencePool(const Decoder& decoder, std::size_t count, std::uint64_t max_length);

  std::size_t available() const { return sequences_.size(); }
  // Takes the sequence with the longest reusable prefix of `prompt`, if that is at least half of the sequence; else an
  // empty one; else the least recently used. available() must not be 0.
  ProcessedSequence take(std::span<const std::uint32_t> prompt);
  void give_back(ProcessedSequence text) { sequences_.push_back(std::move(text)); }

 private:
  std::vector<ProcessedSequence> sequences_;  // least recently used first
};

}  // namespace outrider
