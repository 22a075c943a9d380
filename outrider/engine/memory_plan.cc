#include "outrider/engine/memory_plan.h"

#include <fmt/format.h>

#include "outrider/util/bytes_text.h"
#include "outrider/util/saturating.h"

namespace outrider {
namespace {

constexpr std::uint64_t kMinLength = 1024;

MemoryPlan plan_for(const Model& model, const Decoder& decoder, const EngineOptions& options, std::uint64_t length,
                    std::uint64_t available) {
  MemoryPlan plan;
  plan.max_model_len = length;
  plan.available = available;
  plan.sequence = decoder.sequence_bytes({length, kMaxRollback});
  plan.sequences = saturating_multiply(plan.sequence, options.max_num_seqs);
  const PassSize pass{options.max_num_batched_tokens + options.max_num_seqs,
                      options.max_num_seqs * (1 + options.speculative_config.num_speculative_tokens)};
  const std::uint64_t logits = model.result_bytes({0, pass.logits});
  // Activations of a pass and its result; what the drafter keeps and computes of it; buffers of sampling.
  plan.scratch = saturating_add(model.scratch_bytes(pass), model.result_bytes(pass));
  plan.scratch = saturating_add(plan.scratch, decoder.scratch_bytes(pass.tokens));
  plan.scratch = saturating_add(plan.scratch, saturating_multiply(2, logits));
  return plan;
}

}  // namespace

MemoryPlan plan_memory(const Model& model, const EngineOptions& options, std::optional<std::uint64_t> max_model_len,
                       std::uint64_t available, std::uint64_t total) {
  const std::uint64_t context = model.config().max_position_embeddings;
  if (max_model_len && (*max_model_len == 0 || *max_model_len > context)) {
    throw Error(
        fmt::format("max_model_len is {}; it must be from 1 to {}, the model's context "
                    "(max_position_embeddings).",
                    *max_model_len, context));
  }
  const Decoder decoder(model, {options.speculative_config, options.max_num_batched_tokens});
  // Halves the length until the plan fits into `bytes`.
  const auto longest = [&](std::uint64_t from, std::uint64_t bytes) {
    MemoryPlan plan = plan_for(model, decoder, options, from, available);
    while (plan.total() > bytes && plan.max_model_len > kMinLength) {
      plan = plan_for(model, decoder, options, plan.max_model_len / 2, available);
    }
    return plan;
  };
  const MemoryPlan plan =
      max_model_len ? plan_for(model, decoder, options, *max_model_len, available) : longest(context, available / 2);
  if (plan.total() <= available) return plan;
  const MemoryPlan fits = longest(plan.max_model_len, available);
  const std::string message = fmt::format(
      "{} sequences of {} tokens need {} and a step needs {} more, but only {} of memory are available. {}",
      options.max_num_seqs, plan.max_model_len, bytes_text(plan.sequences), bytes_text(plan.scratch),
      bytes_text(available),
      fits.total() <= available
          ? fmt::format("--max-model-len {} fits; so may fewer sequences (--max-num-seqs).", fits.max_model_len)
          : "Reduce --max-num-seqs or --max-model-len.");
  if (plan.total() <= total) throw TemporaryError(message);
  throw Error(message);
}

}  // namespace outrider
