#include "outrider/decoding/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <utility>

#include "outrider/decoding/drafter_methods.h"
#include "outrider/util/error.h"
#include "outrider/util/saturating.h"

namespace outrider {
namespace {

// Collects the output streams of some layers during a pass.
class StreamCapture {
 public:
  StreamCapture(std::span<const std::size_t> layers, std::size_t last_layer)
      : layers_(layers), last_layer_(last_layer), streams_(layers.size()) {}

  LayerObserver observer() {
    if (layers_.empty()) return {};
    return [this](std::size_t layer, const Rows& streams) {
      if (layer != last_layer_) keep(layer, streams);
    };
  }
  // By layer. `last`: the last layer's streams, which the pass returned.
  std::span<const Rows> finish(Rows last) {
    keep(last_layer_, std::move(last));
    return streams_;
  }

 private:
  template <typename Streams>
  void keep(std::size_t layer, Streams&& streams) {
    const auto at = std::ranges::find(layers_, layer);
    if (at != layers_.end()) streams_[static_cast<std::size_t>(at - layers_.begin())] = std::forward<Streams>(streams);
  }

  std::span<const std::size_t> layers_;
  std::size_t last_layer_;
  std::vector<Rows> streams_;
};

}  // namespace

// The state of one generation during a step.
struct Decoder::Running {
  Generation& generation;
  std::size_t prompt_tokens;
  bool prompting;  // processes a part of its prompt
  std::vector<DraftToken> drafts;
  std::size_t left_out = 0;  // DraftRound's
};

Decoder::Decoder(const Model& model, const DecoderOptions& options)
    : Decoder(model, make_drafter(model, options.speculative_config), options.speculative_config.num_speculative_tokens,
              options.chunk, options.speculative_config.automatic) {}

Decoder::Decoder(const Model& model, std::unique_ptr<const Drafter> drafter, std::size_t num_speculative_tokens,
                 std::size_t chunk, bool automatic)
    : model_(model), drafter_(std::move(drafter)), num_speculative_tokens_(num_speculative_tokens), chunk_(chunk) {
  if (num_speculative_tokens > kMaxSpeculativeTokens) {
    throw Error(fmt::format("num_speculative_tokens is {}; it must be at most {}.", num_speculative_tokens,
                            kMaxSpeculativeTokens));
  }
  if (automatic && drafter_ != nullptr)
    policy_ = std::make_unique<DraftPolicy>(num_speculative_tokens, drafter_->drafts_at_once());
}

ProcessedSequence Decoder::new_sequence(const SequenceLimits& limits) const {
  return ProcessedSequence(model_.new_sequence(limits), drafter_ == nullptr ? nullptr : drafter_->new_state(limits));
}

std::uint64_t Decoder::sequence_bytes(const SequenceLimits& limits) const {
  return saturating_add(model_.sequence_bytes(limits), drafter_bytes(limits));
}

std::uint64_t Decoder::drafter_bytes(const SequenceLimits& limits) const {
  return drafter_ == nullptr ? 0 : drafter_->state_bytes(limits);
}

std::uint64_t Decoder::scratch_bytes(std::size_t tokens) const {
  const ModelConfig& config = model_.config();
  const std::size_t layers = drafter_ == nullptr ? 0 : drafter_->target_layers().size();
  // Streams of the target layers: kept for the drafter, as the input of its layers, and their output.
  const std::uint64_t streams =
      saturating_multiply(3 * layers * tokens, config.hc_mult * config.hidden_size * sizeof(float));
  return drafter_ == nullptr ? 0 : saturating_add(streams, drafter_->weight_bytes());
}

Generation Decoder::start(std::vector<std::uint32_t> prompt, GenerationParams params) const {
  const SequenceLimits limits = Generation::limits(model_, prompt.size(), params);
  return {model_, new_sequence(limits), std::move(prompt), std::move(params)};
}

void Decoder::step(std::span<Generation* const> generations) const {
  std::vector<StepItem> items;
  for (Generation* g : generations) items.push_back({g, chunk_});
  step(items);
  if (std::ranges::any_of(generations, &Generation::out_of_memory)) throw std::bad_alloc();
}

void Decoder::step(std::span<const StepItem> items) const {
  for (const StepItem& item : items) item.generation->begin_step();
  try {
    step_together(items);
  } catch (const std::bad_alloc&) {
    for (const StepItem& item : items) {
      Generation& g = *item.generation;
      if (g.out_of_memory()) continue;
      g.recover();
      if (g.stepped()) continue;
      items.size() == 1 ? g.run_out_of_memory() : step({&item, 1});
    }
  }
}

void Decoder::step_together(std::span<const StepItem> items) const {
  std::vector<Running> running;
  for (const StepItem& item : items) {
    if (item.generation->finished()) continue;
    running.push_back({*item.generation, item.prompt_tokens, item.generation->prompt_tokens_left() != 0, {}});
  }
  if (running.empty()) return;
  if (drafter_ == nullptr) return verify(running);
  if (policy_ == nullptr) {
    draft(running, num_speculative_tokens_, {});
    return verify(running);
  }
  std::size_t backlog = 0;
  for (const Running& r : running) {
    if (DrafterState* const state = r.generation.processed().drafter_state()) backlog += state->backlog();
  }
  const std::size_t wanted = policy_->choose(running.size(), backlog);
  // Only such steps can be compared.
  const bool alike = std::ranges::all_of(
      running, [&](const Running& r) { return !r.prompting && r.generation.max_draft_tokens() >= wanted; });
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  const auto begin = Clock::now();
  std::vector<DraftBudget> budgets;
  for (const Running& r : running) {
    const Generation& g = r.generation;
    budgets.push_back(policy_->budget(running.size(), g.sampler().acceptance_rule(), g.recent_acceptance()));
  }
  draft(running, wanted, budgets);
  const auto drafted = Clock::now();
  verify(running);
  const double verification = since(drafted);
  std::vector<DraftRound> rounds;
  for (const Running& r : running) rounds.push_back(r.generation.round());
  policy_->learn(budgets, rounds);
  if (alike) policy_->add(wanted, {since(begin), verification}, budgets, rounds);
}

// `budgets`: one for each of `running`, or none.
void Decoder::draft(std::span<Running> running, std::size_t wanted, std::span<DraftBudget> budgets) const {
  std::vector<DraftItem> items;
  std::vector<Running*> drafting;
  for (std::size_t i = 0; i < running.size(); ++i) {
    Generation& g = running[i].generation;
    const DrafterState* const state = g.processed().drafter_state();
    const bool ready = state == nullptr || state->ready();
    const std::size_t possible = ready ? std::min(num_speculative_tokens_, g.max_draft_tokens()) : 0;
    const std::size_t drafts = std::min(wanted, possible);
    running[i].left_out = possible - drafts;
    if (drafts == 0) continue;
    DraftBudget* const budget = budgets.empty() ? nullptr : &budgets[i];
    items.push_back({g.processed().drafter_state(), g.tokens(), drafts, &g.sampler(), budget});
    drafting.push_back(&running[i]);
  }
  if (items.empty()) return;
  std::vector<std::vector<DraftToken>> drafts = drafter_->draft(items);
  for (std::size_t i = 0; i < drafting.size(); ++i) {
    drafting[i]->generation.sampler().roll_back();
    drafting[i]->drafts = std::move(drafts[i]);
    if (items[i].budget != nullptr && items[i].budget->left_out())
      drafting[i]->left_out += items[i].max_tokens - drafting[i]->drafts.size();
  }
}

void Decoder::verify(std::span<Running> running) const {
  std::vector<std::vector<std::uint32_t>> tokens;
  std::vector<char> reaches_end;
  std::vector<ForwardItem> items;
  for (const Running& r : running) {
    const std::span<const std::uint32_t> unprocessed = r.generation.unprocessed();
    const auto known = unprocessed.first(std::min(unprocessed.size(), r.prompt_tokens));
    tokens.emplace_back(known.begin(), known.end());
    for (const DraftToken& draft : r.drafts) tokens.back().push_back(draft.id);
    reaches_end.push_back(known.size() == unprocessed.size());
  }
  for (std::size_t i = 0; i < running.size(); ++i) {
    Generation& g = running[i].generation;
    const LogitsWanted wanted = !running[i].drafts.empty() || g.wants_prompt_logprobs() ? LogitsWanted::kAll
                                : reaches_end[i] != 0                                   ? LogitsWanted::kLast
                                                                                        : LogitsWanted::kNone;
    items.push_back({&g.processed().sequence(), tokens[i], wanted});
  }
  StreamCapture capture(drafter_ == nullptr ? std::span<const std::size_t>() : drafter_->target_layers(),
                        model_.config().layers.size() - 1);
  ForwardResult result = model_.forward(items, capture.observer());
  const std::span<const Rows> streams = capture.finish(std::move(result.streams));
  std::vector<ObservedItem> observed;
  observed.reserve(running.size());
  std::size_t row = 0;
  std::size_t logits_row = 0;
  for (std::size_t i = 0; i < running.size(); ++i) {
    Generation& g = running[i].generation;
    const std::span<const DraftToken> drafts = running[i].drafts;
    const std::size_t logits_rows = items[i].logits == LogitsWanted::kAll    ? tokens[i].size()
                                    : items[i].logits == LogitsWanted::kLast ? 1
                                                                             : 0;
    const std::size_t first_row = row;
    const std::size_t first_logits = logits_row;
    row += tokens[i].size();
    logits_row += logits_rows;
    try {
      if (g.wants_prompt_logprobs()) g.add_prompt_logprobs(result.logits, first_logits, logits_rows);
      std::size_t kept = tokens[i].size();
      if (reaches_end[i] != 0) {
        g.verify(drafts, running[i].left_out, num_speculative_tokens_, result.logits, logits_row - drafts.size() - 1);
        // All output tokens but the last are processed.
        kept = kept - drafts.size() + g.new_tokens().size() - 1;
      }
      g.keep(std::span(tokens[i]).first(kept));
      observed.push_back({g.processed().drafter_state(), g.tokens(), first_row, kept,
                          running[i].prompting && !g.finished().has_value()});
    } catch (const std::bad_alloc&) {
      g.run_out_of_memory();  // its own memory; the others are not concerned
    }
  }
  if (drafter_ != nullptr) drafter_->observe(observed, streams);
}

}  // namespace outrider
