#include "outrider/tokenizer/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "outrider/tokenizer/byte_alphabet.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

// Pieces of up to this many bytes are merged by scanning; longer ones with a heap.
constexpr std::size_t kShort = 48;

}  // namespace

Bpe::Bpe(const TokenizerSpec& spec, const std::string& where) {
  std::unordered_map<std::string_view, TokenId> ids;
  ids.reserve(spec.vocab.size());
  for (const auto& [token, id] : spec.vocab) ids.emplace(token, id);

  byte_ids_.fill(kNone);
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto found = ids.find(token_of_byte(static_cast<std::uint8_t>(byte)));
    if (found != ids.end()) byte_ids_[byte] = found->second;
    if (found == ids.end() && spec.has_unk_token) {
      throw Error(fmt::format(
          "{}: the vocabulary has no token for the byte 0x{:02x}, and unk_token is not supported. A byte-level "
          "vocabulary needs all 256.",
          where, byte));
    }
  }
  if (spec.ignore_merges) {
    for (const auto& [token, id] : spec.vocab) {
      if (std::optional<std::string> bytes = bytes_of_token(token)) whole_.emplace(*std::move(bytes), id);
    }
  }

  const std::size_t slots = std::bit_ceil(std::max<std::size_t>(spec.merges.size() * 2, 2));
  merges_.resize(slots);
  shift_ = static_cast<unsigned>(64 - std::countr_zero(slots));
  std::uint32_t rank = 0;
  std::string joined;
  for (const auto& [left, right] : spec.merges) {
    joined = left + right;
    const auto id_of = [&, &first = left, &second = right](std::string_view token) {
      const auto found = ids.find(token);
      if (found == ids.end()) {
        throw Error(fmt::format(
            "{}: merge {} (\"{}\", \"{}\") needs the token \"{}\", which is not in the vocabulary. The vocabulary and "
            "the merges are from different tokenizers; restore the file.",
            where, rank, printable(first), printable(second), printable(token)));
      }
      return found->second;
    };
    const TokenId left_id = id_of(left);
    const TokenId right_id = id_of(right);
    insert(left_id, right_id, rank, id_of(joined));
    ++rank;
  }
}

const Bpe::Merge* Bpe::find(TokenId left, TokenId right) const {
  const std::uint64_t pair = std::uint64_t{left} << 32 | right;
  for (std::size_t i = slot(pair);; i = (i + 1) & (merges_.size() - 1)) {
    if (merges_[i].pair == pair) return &merges_[i];
    if (merges_[i].rank == kNone) return nullptr;
  }
}

void Bpe::insert(TokenId left, TokenId right, std::uint32_t rank, TokenId id) {
  const std::uint64_t pair = std::uint64_t{left} << 32 | right;
  std::size_t i = slot(pair);
  while (merges_[i].rank != kNone && merges_[i].pair != pair) i = (i + 1) & (merges_.size() - 1);
  merges_[i] = {pair, rank, id};  // of a repeated merge, the last is used
}

void Bpe::encode(std::string_view piece, std::vector<TokenId>& ids, Workspace& workspace) const {
  if (!whole_.empty()) {
    const auto found = whole_.find(std::string(piece));
    if (found != whole_.end()) {
      ids.push_back(found->second);
      return;
    }
  }
  if (piece.size() <= kShort) {
    encode_short(piece, ids);
  } else {
    encode_long(piece, ids, workspace);
  }
}

void Bpe::encode_short(std::string_view piece, std::vector<TokenId>& ids) const {
  std::array<TokenId, kShort> symbol;
  std::array<std::uint32_t, kShort> rank;  // of the pair that begins at this symbol
  std::array<TokenId, kShort> joined;
  std::size_t count = 0;
  for (const char c : piece) {
    const TokenId id = byte_ids_[static_cast<std::uint8_t>(c)];
    if (id != kNone) symbol[count++] = id;
  }
  const auto look_up = [&](std::size_t i) {
    const Merge* merge = i + 1 < count ? find(symbol[i], symbol[i + 1]) : nullptr;
    rank[i] = merge != nullptr ? merge->rank : kNone;
    joined[i] = merge != nullptr ? merge->id : 0;
  };
  for (std::size_t i = 0; i < count; ++i) look_up(i);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
      if (rank[i] < rank[best]) best = i;
    }
    if (rank[best] == kNone) break;
    symbol[best] = joined[best];
    --count;
    const std::size_t tail = count - best - 1;
    std::memmove(&symbol[best + 1], &symbol[best + 1] + 1, tail * sizeof(symbol[0]));
    std::memmove(&rank[best + 1], &rank[best + 1] + 1, tail * sizeof(rank[0]));
    std::memmove(&joined[best + 1], &joined[best + 1] + 1, tail * sizeof(joined[0]));
    look_up(best);
    if (best > 0) look_up(best - 1);
  }
  ids.insert(ids.end(), symbol.begin(), symbol.begin() + static_cast<std::ptrdiff_t>(count));
}

void Bpe::encode_long(std::string_view piece, std::vector<TokenId>& ids, Workspace& workspace) const {
  auto& symbols = workspace.symbols;
  auto& heap = workspace.heap;
  symbols.clear();
  heap.clear();
  for (const char c : piece) {
    const TokenId id = byte_ids_[static_cast<std::uint8_t>(c)];
    if (id == kNone) continue;
    const auto at = static_cast<std::uint32_t>(symbols.size());
    symbols.push_back({id, at - 1, at + 1});  // the first symbol's previous is kNone
  }
  if (symbols.empty()) return;
  symbols.back().next = kNone;

  const auto later = [](const Workspace::Candidate& a, const Workspace::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  };
  const auto candidate = [&](std::uint32_t at) -> std::optional<Workspace::Candidate> {
    if (at == kNone || symbols[at].next == kNone) return std::nullopt;
    const Merge* merge = find(symbols[at].id, symbols[symbols[at].next].id);
    if (merge == nullptr) return std::nullopt;
    return Workspace::Candidate{merge->rank, at, merge->id};
  };
  const auto push = [&](std::uint32_t at) {
    if (const auto found = candidate(at)) {
      heap.push_back(*found);
      std::push_heap(heap.begin(), heap.end(), later);
    }
  };
  for (std::uint32_t at = 0; at + 1 < symbols.size(); ++at) {
    if (const auto found = candidate(at)) heap.push_back(*found);
  }
  std::make_heap(heap.begin(), heap.end(), later);
  for (std::size_t round = 0; !heap.empty(); ++round) {
    if (round % 4096 == 0 && workspace.unwanted.stop_requested()) return;
    std::pop_heap(heap.begin(), heap.end(), later);
    const Workspace::Candidate top = heap.back();
    heap.pop_back();
    Workspace::Symbol& left = symbols[top.at];
    if (left.id == kNone) continue;  // merged into the previous symbol
    const auto now = candidate(top.at);
    if (!now || now->rank != top.rank) continue;  // one of the two symbols has changed since
    Workspace::Symbol& right = symbols[left.next];
    left.id = top.id;
    left.next = right.next;
    right.id = kNone;
    if (left.next != kNone) symbols[left.next].previous = top.at;
    push(left.previous);
    push(top.at);
  }
  for (std::uint32_t at = 0; at != kNone; at = symbols[at].next) ids.push_back(symbols[at].id);
}

}  // namespace outrider
