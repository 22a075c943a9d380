#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <unordered_map>
#include <vector>

namespace outrider {

// Sampling parameters. They apply in vLLM's order: logit_bias, penalties, temperature, min_p, top_k, top_p.
struct SamplingParams {
  double temperature = 0;         // 0: greedy
  std::uint32_t top_k = 0;        // 0: all
  double top_p = 1;               // (0, 1]
  double min_p = 0;               // [0, 1]: relative to the most likely token's probability
  double repetition_penalty = 1;  // 1e-6 to 1e6: divides positive logits of tokens so far, multiplies negative ones
  double presence_penalty = 0;    // subtracted from the logits of output tokens
  double frequency_penalty = 0;   // the same, once per occurrence

  // Added to the logits of single tokens, before the penalties.
  struct Bias {
    std::uint32_t token = 0;
    float bias = 0;  // -100 to 100
  };
  std::vector<Bias> logit_bias;

  bool greedy() const { return temperature == 0; }
  bool penalizes() const { return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0; }
};

// Throws Error that names the parameter and its valid range.
void validate(const SamplingParams& params);

// The tokens of a sequence, counted for the penalties.
class TokenHistory {
 public:
  void add_prompt(std::uint32_t token) { ++seen_[token].prompt; }
  void add(std::uint32_t token) { ++seen_[token].written; }
  // Takes the memory that add() needs, so that it does not throw.
  void add_none(std::uint32_t token) { seen_.try_emplace(token); }
  void remove(std::uint32_t token) { --seen_[token].written; }

  void penalize(const SamplingParams& params, std::span<float> logits) const;

 private:
  struct Counts {
    std::uint32_t prompt = 0;
    std::uint32_t written = 0;
  };
  std::unordered_map<std::uint32_t, Counts> seen_;
};

// Uniform numbers in [0, 1); the same on every machine for the same seed.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  double uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }

 private:
  std::mt19937_64 engine_;
};

// Numbers for one position of a sequence, one for each token, that do not depend on how often or in which order they
// are asked for: uniform in (0, 1), the same on every machine.
class PositionNoise {
 public:
  PositionNoise(std::uint64_t seed, std::uint64_t position) : key_(mixed(mixed(seed) + position)) {}
  double uniform(std::uint32_t token) const { return (static_cast<double>(mixed(key_ + token) >> 11) + 0.5) * 0x1p-53; }

 private:
  static std::uint64_t mixed(std::uint64_t z);

  std::uint64_t key_;
};

// The distribution of the next token, after temperature and filters.
class Distribution {
 public:
  // `logits` [V], penalties applied. If params are greedy, the first of the highest logits has probability 1.
  Distribution(std::span<const float> logits, const SamplingParams& params);
  // Gives one token probability 1.
  static Distribution point(std::uint32_t token) { return Distribution(token); }

  // Whether all logits were -infinity: no token may follow. The distribution is of no use then.
  bool none() const { return none_; }

  double probability(std::uint32_t token) const;
  std::uint32_t sample(Random& random) const;
  // Draws the token of the largest log p + Gumbel noise: exactly p over all seeds, and the same token from two
  // distributions as often as they are alike.
  std::uint32_t sample(const PositionNoise& noise) const;
  // Draws from the normalised max(p - other, 0). If that is zero everywhere, p equals the other: draws from p.
  std::uint32_t sample_beyond(const Distribution& other, Random& random) const;

 private:
  explicit Distribution(std::uint32_t token) : best_(token) {}

  std::uint32_t best_ = 0;
  bool none_ = false;
  std::vector<float> probabilities_;  // [V]; empty: best_ has probability 1
};

}  // namespace outrider
