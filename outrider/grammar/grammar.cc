#include "outrider/grammar/grammar.h"

#include <fmt/format.h>

#include <utility>

#include "outrider/grammar/automaton/matcher.h"
#include "outrider/grammar/free_text.h"
#include "outrider/grammar/schema/json_schema.h"
#include "outrider/grammar/schema/json_text.h"
#include "outrider/grammar/tool_grammar.h"
#include "outrider/prompt/markup.h"
#include "outrider/util/error.h"

namespace outrider {

Grammar Grammar::message(const MessageShape& shape) {
  AutomatonBuilder builder;
  JsonText json(builder);
  const Automaton::Rule message = builder.new_rule();
  const Automaton::State end = builder.end(message);
  Automaton::State begin = builder.start(message);
  if (shape.reasoning) begin = add_text_until(builder, begin, markup::kThinkEnd, {markup::kDsml});
  if (shape.content == MessageShape::Content::kJsonObject) {
    builder.jump(builder.call(begin, json.object()), end);
  } else if (shape.content == MessageShape::Content::kJsonSchema) {
    JsonSchemaCompiler compiler(builder, json, shape.schema, shape.schema_where);
    builder.jump(builder.call(begin, compiler.rule_of(shape.schema, "#")), end);
    compiler.finish();
  }
  if (!shape.functions.empty()) {
    builder.jump(add_tool_calls(builder, json, begin, shape.functions, shape.several_calls), end);
  }
  try {
    Automaton automaton = std::move(builder).build(message);
    Matcher(automaton).start();  // throws if it is too ambiguous at the start
    return Grammar(std::move(automaton));
  } catch (const Error& e) {
    if (shape.schema_where.empty()) throw;
    throw Error(fmt::format("{}: {}", shape.schema_where, e.what()));
  }
}

Grammar Grammar::json_object() {
  MessageShape shape;
  shape.content = MessageShape::Content::kJsonObject;
  return message(shape);
}

Grammar Grammar::from_json_schema(const nlohmann::ordered_json& schema, const std::string& where) {
  MessageShape shape;
  shape.content = MessageShape::Content::kJsonSchema;
  shape.schema = schema;
  shape.schema_where = where;
  return message(shape);
}

bool Grammar::accepts(std::string_view bytes) const {
  Matcher matcher(automaton_);
  Matcher::Position position = matcher.start();
  for (const char byte : bytes) position = matcher.next(position, static_cast<std::uint8_t>(byte));
  return matcher.complete(position);
}

}  // namespace outrider
