#include <cstdint>
#include <string_view>

#include "outrider/grammar/automaton/matcher.h"
#include "outrider/grammar/grammar.h"
#include "outrider/prompt/python_json.h"
#include "outrider/testing/fuzz_target.h"

using outrider::testing::require;

namespace {

// Reads any bytes, then bytes chosen so that the text continues, which reach all of the grammar.
void read(const outrider::Automaton& automaton, std::string_view bytes) {
  outrider::Matcher matcher(automaton);
  outrider::Matcher::Position position = matcher.start();
  require(position != outrider::Matcher::kDead);  // the empty language
  for (const char given : bytes.substr(0, 2048)) {
    const auto byte = static_cast<std::uint8_t>(given);
    outrider::Matcher::Position next = matcher.next(position, byte);
    for (unsigned i = 1; i < 256 && next == outrider::Matcher::kDead; ++i) {
      next = matcher.next(position, static_cast<std::uint8_t>(byte + i));
    }
    // A text that cannot continue must have ended.
    if (next == outrider::Matcher::kDead) {
      require(matcher.complete(position) && !matcher.open(position));
      return;
    }
    position = next;
  }
  require(matcher.forget_all_but({position}).size() == 1);
}

}  // namespace

// Any JSON Schema, or list of tools, either fails with an Error or yields a grammar in which every prefix of a text can
// be completed. The text follows the first byte 0.
FUZZ_TARGET(json_schema) {
  const auto [json, text] = outrider::testing::split_at_zero(input, "{\"abc\": [1, \"x\\n");
  outrider::MessageShape shape;
  shape.where = "schema";
  auto schema = outrider::parse_python_json(json, "schema");
  if (schema.is_array()) {
    for (auto& parameters : schema) shape.functions.push_back({{"name", "f"}, {"parameters", parameters}});
    shape.reasoning = schema.size() > 1;
    shape.several_calls = true;
  } else {
    shape.content = outrider::MessageShape::Content::kJsonSchema;
    shape.schema = std::move(schema);
  }
  read(outrider::Grammar::message(shape).automaton(), text);
}
