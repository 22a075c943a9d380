#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "outrider/architectures/deepseek_v4/mtp.h"
#include "outrider/binding/open_plan.h"
#include "outrider/checkpoint/checkpoint.h"
#include "outrider/checkpoint/number_formats.h"
#include "outrider/files/mapped_file.h"

namespace outrider::testing {

// One file of tests/golden.
class Golden {
 public:
  explicit Golden(const std::string& name)
      : checkpoint_(Checkpoint::open(path(name))), file_(checkpoint_.files().front().path) {}

  static std::filesystem::path path(const std::string& name) {
    return std::filesystem::path(OUTRIDER_GOLDEN) / (name + ".safetensors");
  }

  bool has(const std::string& tensor) const { return checkpoint_.find(tensor) != nullptr; }
  std::vector<float> floats(const std::string& tensor) const { return values<float>(tensor); }
  std::vector<float> bf16(const std::string& tensor) const {
    const std::vector<std::uint16_t> stored = values<std::uint16_t>(tensor);
    std::vector<float> out(stored.size());
    std::ranges::transform(stored, out.begin(), bf16_to_float);
    return out;
  }
  std::vector<float> integers(const std::string& tensor) const {
    const std::vector<std::int32_t> stored = values<std::int32_t>(tensor);
    return {stored.begin(), stored.end()};
  }
  std::vector<std::uint32_t> tokens() const { return values<std::uint32_t>("tokens"); }

 private:
  template <typename T>
  std::vector<T> values(const std::string& tensor) const {
    const TensorInfo* info = checkpoint_.find(tensor);
    if (info == nullptr) throw std::runtime_error("no golden tensor " + tensor);
    std::vector<T> out(info->bytes() / sizeof(T));
    const std::uint64_t at = checkpoint_.files()[info->file].data_start + info->begin;
    std::memcpy(out.data(), file_.bytes().data() + at, info->bytes());
    return out;
  }

  Checkpoint checkpoint_;
  MappedFile file_;
};

inline std::filesystem::path variant(const std::string& name) {
  return std::filesystem::path(OUTRIDER_VARIANTS) / name;
}

// A variant, or the bundled model with a DSpark drafter ("dspark").
inline std::unique_ptr<Model> load_model(const std::string& variant_name, ModelOptions options) {
  const std::string path =
      variant_name == "dspark" ? OUTRIDER_SOURCE_DIR "/models/deepseek-v4-kjv-dspark" : variant(variant_name);
  return make_model(std::make_shared<const Weights>(open_plan(path)), options);
}

inline double largest_difference(std::span<const float> a, std::span<const float> b) {
  double largest = a.size() == b.size() ? 0.0 : INFINITY;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double difference = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= largest)) largest = difference;  // also if it is NaN
  }
  return largest;
}

// |a - b| / |b|
inline double relative_distance(std::span<const float> a, std::span<const float> b) {
  double difference = 0;
  double size = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d;
    size += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(difference / size);
}

// The name of a test whose parameter is the name of a variant or golden file.
inline constexpr auto name_of_test = [](const auto& test) {
  std::string name = test.param;
  std::ranges::replace(name, '-', '_');
  return name;
};

// A sequence and its MTP cache.
struct SequenceWithMtp {
  SequenceWithMtp(const Model& model, SequenceLimits limits)
      : sequence(model.new_sequence(limits)), mtp(new_mtp_cache(model, limits)) {}

  Sequence sequence;
  Sequence mtp;
};

// The results of advancing a sequence and its MTP cache over given tokens.
struct Outcome {
  std::vector<float> logits;      // of the last token
  std::vector<float> mtp_logits;  // of the last token; empty if the model has no MTP block
  std::vector<float> streams;     // [layers, hc*D], of the last token
};

// Advances `state` by tokens[begin, end); tokens[end] is the last token that MTP sees.
inline Outcome advance(const Model& model, SequenceWithMtp& state, std::span<const std::uint32_t> tokens,
                       std::size_t begin, std::size_t end) {
  Outcome run;
  const ForwardItem item{&state.sequence, tokens.subspan(begin, end - begin), LogitsWanted::kLast};
  const ForwardResult result = model.forward({&item, 1}, [&](std::size_t, const Rows& streams) {
    const std::span<const float> last = streams[streams.rows() - 1];
    run.streams.insert(run.streams.end(), last.begin(), last.end());
  });
  run.logits.assign(result.logits[0].begin(), result.logits[0].end());
  if (model.mtp_blocks() == 0) return run;
  const MtpItem draft{&state.mtp, tokens.subspan(begin + 1, end - begin), 0, LogitsWanted::kLast};
  const ForwardResult drafted = run_mtp(model, {&draft, 1}, result.streams);
  run.mtp_logits.assign(drafted.logits[0].begin(), drafted.logits[0].end());
  return run;
}

}  // namespace outrider::testing
