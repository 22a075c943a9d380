#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "outrider/grammar/automaton/matcher.h"
#include "outrider/grammar/grammar.h"
#include "outrider/prompt/python_json.h"
#include "outrider/util/error.h"

namespace {

// Reads any bytes, then bytes chosen so that the text continues, which reach all of the grammar.
void read(const outrider::Automaton& automaton, std::string_view bytes) {
  outrider::Matcher matcher(automaton);
  outrider::Matcher::Position position = matcher.start();
  if (position == outrider::Matcher::kDead) std::abort();  // the empty language
  for (const char given : bytes.substr(0, 2048)) {
    const auto byte = static_cast<std::uint8_t>(given);
    outrider::Matcher::Position next = matcher.next(position, byte);
    for (unsigned i = 1; i < 256 && next == outrider::Matcher::kDead; ++i) {
      next = matcher.next(position, static_cast<std::uint8_t>(byte + i));
    }
    // A text that cannot continue must have ended.
    if (next == outrider::Matcher::kDead) {
      if (!matcher.complete(position) || matcher.open(position)) std::abort();
      return;
    }
    position = next;
  }
  if (matcher.forget_all_but({position}).size() != 1) std::abort();
}

}  // namespace

// Any JSON Schema, or list of tools, either fails with an Error or yields a grammar in which every prefix of a text can
// be completed. The text follows the first byte 0.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = input.find('\0');
  const std::string_view text = zero == std::string_view::npos ? "{\"abc\": [1, \"x\\n" : input.substr(zero + 1);
  try {
    outrider::MessageShape shape;
    shape.where = "schema";
    auto schema = outrider::parse_python_json(input.substr(0, zero), "schema");
    if (schema.is_array()) {
      for (auto& parameters : schema) shape.functions.push_back({{"name", "f"}, {"parameters", parameters}});
      shape.reasoning = schema.size() > 1;
      shape.several_calls = true;
    } else {
      shape.content = outrider::MessageShape::Content::kJsonSchema;
      shape.schema = std::move(schema);
    }
    read(outrider::Grammar::message(shape).automaton(), text);
  } catch (const outrider::Error&) {
  }
  return 0;
}
