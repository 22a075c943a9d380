#include "outrider/server/constraint.h"

#include <algorithm>
#include <string_view>

#include "outrider/grammar/grammar.h"
#include "outrider/server/constraint_fields.h"
#include "outrider/util/dumped_json.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMaxCached = 32;
constexpr std::size_t kMaxBytes = std::size_t{256} << 20;  // of the cached masks and their keys

std::string key_of(const MessageShape& shape) {
  return dumped_json({shape.reasoning, static_cast<int>(shape.content), shape.schema, shape.text, shape.choices,
                      shape.compact, shape.functions, shape.several_calls});
}

}  // namespace

std::shared_ptr<MaskTable> Constraints::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto known = std::ranges::find(known_, key, &decltype(known_)::value_type::first);
  if (known == known_.end()) return nullptr;
  known_.splice(known_.begin(), known_, known);
  return known_.front().second;
}

std::shared_ptr<MaskTable> Constraints::read(const Fields& request, bool chat, bool reasoning) {
  MessageShape shape = read_constraint(request, chat);
  if (shape.content == MessageShape::Content::kNone && shape.functions.empty()) return nullptr;
  shape.reasoning = reasoning;
  const std::string key = key_of(shape);
  if (auto known = find(key)) return known;
  std::shared_ptr<const Grammar> grammar;
  try {
    grammar = std::make_shared<const Grammar>(Grammar::message(shape));
  } catch (const Error& e) {
    const bool of_content = !shape.where.empty() && std::string_view(e.what()).starts_with(shape.where);
    throw ApiError(400, e.what(), of_content ? shape.where : "tools");
  }
  if (auto known = find(key)) return known;  // another request compiled it first
  const std::lock_guard lock(mutex_);
  if (trie_ == nullptr) trie_ = std::make_shared<const TokenTrie>(tokenizer_);
  known_.emplace_front(key, std::make_shared<MaskTable>(std::move(grammar), trie_));
  std::size_t bytes = 0;
  std::size_t kept = 0;
  for (const auto& [of, table] : known_) {
    bytes += of.size() + table->bytes();
    if (kept != 0 && (kept == kMaxCached || bytes > kMaxBytes)) break;
    ++kept;
  }
  known_.resize(kept);
  return known_.front().second;
}

}  // namespace outrider
