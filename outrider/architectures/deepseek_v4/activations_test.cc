#include "outrider/architectures/deepseek_v4/activations.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>

#include "outrider/architectures/model.h"
#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/backend/cpu/cpu_backend.h"
#include "outrider/binding/open_plan.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

ModelConfig config_of(const std::string& shape) {
  return read_config(synthetic::config_json(shape, synthetic::Family::kOfficial)).config;
}

TEST(Activations, AllocatesThePlannedBytes) {
  for (const char* shape : {"tiny", "pro-tiny", "flash", "pro"}) {
    const ModelConfig config = config_of(shape);
    for (const bool drafts : {false, true}) {
      std::uint64_t of_smaller = 0;
      for (const PassSize pass : {PassSize{1, 0}, PassSize{1, 1}, PassSize{7, 3}, PassSize{16, 16}}) {
        Activations a(config, config.n_routed_experts, drafts);
        EXPECT_EQ(a.allocated_bytes(), 0U);
        a.reshape(pass);
        EXPECT_EQ(a.allocated_bytes(), a.bytes(pass)) << shape << ", " << pass.tokens << " tokens";
        EXPECT_GT(a.bytes(pass), of_smaller);
        of_smaller = a.bytes(pass);
      }
    }
  }
}

TEST(Activations, SmallerPassesAllocateNothing) {
  const ModelConfig config = config_of("tiny");
  Activations a(config, config.n_routed_experts, true);
  a.reshape({16, 4});
  const float* q = a.q.data();
  a.reshape({3, 1});
  EXPECT_EQ(a.q.rows(), 3 * config.num_attention_heads);
  a.reshape({16, 4});
  EXPECT_EQ(a.q.data(), q);
  EXPECT_EQ(a.allocated_bytes(), a.bytes({16, 4}));
  a.reshape({17, 4});
  EXPECT_EQ(a.allocated_bytes(), a.bytes({17, 4}));
}

TEST(Activations, BytesSaturate) {
  const ModelConfig config = config_of("tiny");
  const Activations a(config, config.n_routed_experts, true);
  EXPECT_EQ(a.bytes({~0ULL / 64, 1}), ~0ULL);
}

std::uint64_t bytes_in_use() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

// Bytes allocated by malloc while a pass runs, including its result.
TEST(Activations, APassUsesNoMoreThanThePlannedBytes) {
  testing::TempDir dir;
  synthetic::write_tiny_checkpoint(dir.path(), {});
  const auto weights = std::make_shared<const Weights>(open_plan(dir.path()));
  for (const NumericMode mode : {NumericMode::kOfficial, NumericMode::kExact}) {
    const auto made = make_model(weights, {mode, 1});
    const Model& model = *made;
    const std::size_t tokens = std::min<std::size_t>(1000, model.config().max_position_embeddings);
    Sequence sequence = model.new_sequence({tokens, 0});
    std::vector<std::uint32_t> ids(tokens);
    for (std::size_t i = 0; i < tokens; ++i) ids[i] = static_cast<std::uint32_t>(i * 7 % model.config().vocab_size);
    const PassSize pass{tokens, tokens};
    const std::uint64_t before = bytes_in_use();
    if (before == 0) GTEST_SKIP() << "this malloc does not report the bytes in use";
    std::uint64_t most = 0;
    const ForwardItem item{&sequence, ids, LogitsWanted::kAll};
    {
      const ForwardResult result =
          model.forward({&item, 1}, [&](std::size_t, const Rows&) { most = std::max(most, bytes_in_use() - before); });
      most = std::max(most, bytes_in_use() - before);
    }
    EXPECT_LE(most, model.scratch_bytes(pass) + model.result_bytes(pass));
    EXPECT_GE(most, model.result_bytes(pass) + model.scratch_bytes(pass) / 2);
    const std::uint64_t kept = bytes_in_use();
    sequence.truncate(0);
    model.forward({&item, 1});
    EXPECT_LE(bytes_in_use(), kept + (64 << 10)) << "the second pass reuses the memory of the first";
  }
}

// A new device requires no change to the model. A device that differs in one operation overrides only that one.
class CountingBackend : public CpuBackend {
 public:
  using CpuBackend::CpuBackend;
  void experts(const Experts& experts, const Routing& routing, const Rows& x, const ExpertBuffers& buffers,
               Rows& y) override {
    ++calls;
    CpuBackend::experts(experts, routing, x, buffers, y);
  }
  std::size_t calls = 0;
};

TEST(Model, RunsOnAnyBackend) {
  testing::TempDir dir;
  synthetic::write_tiny_checkpoint(dir.path(), {});
  const auto weights = std::make_shared<const Weights>(open_plan(dir.path()));
  auto owned = std::make_unique<CountingBackend>(NumericMode::kOfficial, 1, default_kernels());
  const CountingBackend& backend = *owned;
  const auto made = make_model(weights, std::move(owned));
  const Model& model = *made;
  const std::vector<std::uint32_t> tokens = {1, 2, 3};
  Sequence sequence = model.new_sequence({10, 0});
  const ForwardItem item{&sequence, tokens};
  const ForwardResult result = model.forward({&item, 1});
  EXPECT_EQ(backend.calls, model.config().num_hidden_layers);

  const auto usual = make_model(weights);
  Sequence other = usual->new_sequence({10, 0});
  const ForwardItem same{&other, tokens};
  EXPECT_TRUE(std::ranges::equal(usual->forward({&same, 1}).logits[0], result.logits[0]));
}

}  // namespace
}  // namespace outrider
