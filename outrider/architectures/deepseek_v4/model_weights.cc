#include "outrider/architectures/deepseek_v4/model_weights.h"

#include <fmt/format.h>

#include <cstring>

#include "outrider/util/error.h"

namespace outrider {
namespace {

class Loader {
 public:
  explicit Loader(const Weights& weights) : weights_(weights), taken_(manifest().parameters().size()) {}

  std::uint64_t copied_bytes() const { return copied_bytes_; }

  ParameterId take(Block block, Slot slot, std::int32_t expert = -1) {
    const std::optional<ParameterId> found = manifest().find(block, slot, expert);
    if (!found) {
      throw Error(fmt::format("{}: the block has no parameter {}", block_name(block), manifest().spec(slot).official));
    }
    taken_[*found] = true;
    return *found;
  }

  // Throws Error if the registry has a parameter that was not taken: the forward pass would ignore it.
  void require_all_taken() const {
    for (ParameterId p = 0; p < taken_.size(); ++p) {
      const Parameter& parameter = manifest()[p];
      if (taken_[p]) continue;
      throw Error(fmt::format("{}: the forward pass does not use this parameter.", parameter.name()));
    }
  }

  Linear linear(Block block, Slot slot, std::int32_t expert = -1) { return {weights_, take(block, slot, expert)}; }

  // All elements, in row-major order.
  std::vector<float> floats(Block block, Slot slot) {
    const Linear source = linear(block, slot);
    std::vector<float> values(source.rows() * source.cols());
    std::vector<float> row(padded(source.cols()));
    std::vector<float> scratch;
    for (std::size_t r = 0; r < source.rows(); ++r) {
      source.decode(scalar_kernels(), r, row.data(), scratch);
      std::copy_n(row.data(), source.cols(), values.data() + r * source.cols());
    }
    copied_bytes_ += values.size() * sizeof(float);
    return values;
  }

  HyperConnectionWeights hyper_connection(Block block, Slot fn, Slot base, Slot scale) {
    return {linear(block, fn), floats(block, base), floats(block, scale)};
  }

  HyperConnectionWeights hyper_head(Block block) {
    return hyper_connection(block, Slot::kHcHeadFn, Slot::kHcHeadBase, Slot::kHcHeadScale);
  }

  BlockWeights block(Block block, const LayerAttention& attention) {
    const ModelConfig& config = manifest().config();
    BlockWeights b;
    b.attention = attention;
    b.attn_norm = floats(block, Slot::kAttnNorm);
    b.ffn_norm = floats(block, Slot::kFfnNorm);
    b.hc_attn = hyper_connection(block, Slot::kHcAttnFn, Slot::kHcAttnBase, Slot::kHcAttnScale);
    b.hc_ffn = hyper_connection(block, Slot::kHcFfnFn, Slot::kHcFfnBase, Slot::kHcFfnScale);
    b.wq_a = linear(block, Slot::kWqA);
    b.q_norm = floats(block, Slot::kQNorm);
    b.wq_b = linear(block, Slot::kWqB);
    b.wkv = linear(block, Slot::kWkv);
    b.kv_norm = floats(block, Slot::kKvNorm);
    b.attn_sink = floats(block, Slot::kAttnSink);
    b.wo_a = linear(block, Slot::kWoA);
    b.wo_b = linear(block, Slot::kWoB);
    const bool overlaps = attention.type == AttentionType::kCompressedSparse;
    if (has(block, Slot::kCompressorApe)) {
      b.compressor = CompressorWeights{attention.compress_ratio,
                                       overlaps,
                                       config.head_dim,
                                       floats(block, Slot::kCompressorApe),
                                       linear(block, Slot::kCompressorWkv),
                                       linear(block, Slot::kCompressorWgate),
                                       floats(block, Slot::kCompressorNorm)};
    }
    if (has(block, Slot::kIndexerWqB)) {
      b.indexer = IndexerWeights{
          linear(block, Slot::kIndexerWqB), linear(block, Slot::kIndexerWeightsProj),
          CompressorWeights{attention.compress_ratio, overlaps, config.index_head_dim,
                            floats(block, Slot::kIndexerCompressorApe), linear(block, Slot::kIndexerCompressorWkv),
                            linear(block, Slot::kIndexerCompressorWgate), floats(block, Slot::kIndexerCompressorNorm)}};
    }
    b.gate = linear(block, Slot::kGateWeight);
    if (has(block, Slot::kGateTid2Eid)) {
      b.tid2eid = routing_table(block);
    } else {
      b.gate_bias = floats(block, Slot::kGateBias);
    }
    for (std::int32_t e = 0; e < static_cast<std::int32_t>(manifest().experts(block)); ++e) {
      b.experts.push_back(
          {linear(block, Slot::kExpertW1, e), linear(block, Slot::kExpertW2, e), linear(block, Slot::kExpertW3, e)});
    }
    b.shared_experts = {linear(block, Slot::kSharedW1), linear(block, Slot::kSharedW2), linear(block, Slot::kSharedW3)};
    return b;
  }

 private:
  const Manifest& manifest() const { return weights_.plan().manifest(); }
  bool has(Block block, Slot slot) const { return manifest().find(block, slot).has_value(); }

  std::vector<std::uint32_t> routing_table(Block block) {
    const ParameterId table = take(block, Slot::kGateTid2Eid);
    const std::span<const std::byte> bytes = weights_.bytes(table);
    const ParameterShape& shape = manifest()[table].shape;
    const std::uint64_t experts = manifest().experts(block);
    const std::uint64_t width = bytes.size() / shape.elements();
    std::vector<std::uint32_t> values(shape.elements());
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::int64_t value = 0;
      if (width == sizeof(std::int64_t)) {
        std::memcpy(&value, bytes.data() + i * width, sizeof value);
      } else {
        std::int32_t narrow = 0;
        std::memcpy(&narrow, bytes.data() + i * width, sizeof narrow);
        value = narrow;
      }
      if (value < 0 || static_cast<std::uint64_t>(value) >= experts) {
        throw Error(
            fmt::format("{}: token {} is routed to expert {}, but the model has experts 0 to {}. The table belongs to "
                        "another checkpoint (pruning experts requires remapping it), or the file is damaged.",
                        manifest()[table].name(), i / shape.dims[1], value, experts - 1));
      }
      values[i] = static_cast<std::uint32_t>(value);
    }
    copied_bytes_ += values.size() * sizeof(std::uint32_t);
    return values;
  }

  const Weights& weights_;
  std::vector<bool> taken_;  // by ParameterId
  std::uint64_t copied_bytes_ = 0;
};

}  // namespace

ModelWeights::ModelWeights(std::shared_ptr<const Weights> weights) : source(std::move(weights)) {
  const Manifest& manifest = source->plan().manifest();
  Loader loader(*source);
  const Block top{};
  embed = loader.linear(top, Slot::kEmbed);
  head = loader.linear(top, Slot::kHead);
  norm = loader.floats(top, Slot::kFinalNorm);
  hc_head = loader.hyper_head(top);
  for (std::uint32_t i = 0; i < config().num_hidden_layers; ++i) {
    layers.push_back(loader.block({BlockKind::kLayer, i}, config().layers[i]));
  }
  const std::uint32_t blocks = manifest.drafter() == DrafterKind::kMtp ? manifest.drafter_blocks() : 0;
  for (std::uint32_t i = 0; i < blocks; ++i) {
    const Block block{BlockKind::kMtp, i};
    MtpWeights m;
    m.block = loader.block(block, LayerAttention{});
    m.e_proj = loader.linear(block, Slot::kEProj);
    m.h_proj = loader.linear(block, Slot::kHProj);
    m.enorm = loader.floats(block, Slot::kENorm);
    m.hnorm = loader.floats(block, Slot::kHNorm);
    m.norm = loader.floats(block, Slot::kFinalNorm);
    m.hc_head = loader.hyper_head(block);
    m.embed = loader.linear(block, Slot::kEmbed);
    m.head = loader.linear(block, Slot::kHead);
    mtp.push_back(std::move(m));
  }
  if (manifest.drafter() == DrafterKind::kDspark) {
    DsparkWeights& d = dspark.emplace();
    const std::uint32_t stages = manifest.drafter_blocks();
    for (std::uint32_t i = 0; i < stages; ++i) {
      const Block stage{BlockKind::kDspark, i};
      d.stages.push_back(loader.block(stage, LayerAttention{}));
      // Any stage may have its own.
      const Linear embed_of_stage = loader.linear(stage, Slot::kEmbed);
      d.head = loader.linear(stage, Slot::kHead);
      if (i == 0) d.embed = embed_of_stage;
    }
    const Block first{BlockKind::kDspark, 0};
    const Block last{BlockKind::kDspark, stages - 1};
    d.main_proj = loader.linear(first, Slot::kMainProj);
    d.main_norm = loader.floats(first, Slot::kMainNorm);
    d.norm = loader.floats(last, Slot::kFinalNorm);
    d.hc_head = loader.hyper_head(last);
    d.markov_w1 = loader.linear(last, Slot::kMarkovW1);
    d.markov_w2 = loader.linear(last, Slot::kMarkovW2);
    d.confidence = loader.linear(last, Slot::kConfidenceProj);
  }
  loader.require_all_taken();
  copied_bytes = loader.copied_bytes();
}

}  // namespace outrider
