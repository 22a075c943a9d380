#include "outrider/grammar/grammar.h"

#include <fmt/format.h>

#include <utility>

#include "outrider/grammar/automaton/code_points.h"
#include "outrider/grammar/automaton/matcher.h"
#include "outrider/grammar/ebnf/ebnf.h"
#include "outrider/grammar/free_text.h"
#include "outrider/grammar/schema/json_schema.h"
#include "outrider/grammar/schema/json_text.h"
#include "outrider/grammar/schema/pattern.h"
#include "outrider/grammar/tool_grammar.h"
#include "outrider/prompt/markup.h"
#include "outrider/util/error.h"

namespace outrider {

namespace {

using Content = MessageShape::Content;

void add_content(AutomatonBuilder& builder, JsonText& json, Automaton::State from, Automaton::State to,
                 const MessageShape& shape) {
  switch (shape.content) {
    case Content::kNone:
      return;
    case Content::kJsonObject:
      builder.jump(builder.call(from, json.object()), to);
      return;
    case Content::kJsonSchema: {
      JsonSchemaCompiler compiler(builder, json, shape.schema, shape.where);
      builder.jump(builder.call(from, compiler.rule_of(shape.schema, "#")), to);
      compiler.finish();
      return;
    }
    case Content::kRegex:
      builder.jump(add_regex(builder, from, shape.text), to);
      return;
    case Content::kChoice:
      builder.jump(add_one_of(builder, from, shape.choices), to);
      return;
    case Content::kEbnf:
      builder.jump(add_ebnf(builder, from, shape.text), to);
      return;
  }
}

}  // namespace

Grammar Grammar::message(const MessageShape& shape) {
  AutomatonBuilder builder;
  JsonText json(builder, shape.compact);
  const Automaton::Rule message = builder.new_rule();
  const Automaton::State end = builder.end(message);
  Automaton::State begin = builder.start(message);
  if (shape.reasoning) begin = add_text_until(builder, begin, markup::kThinkEnd, {markup::kDsml});
  if (!shape.functions.empty()) {
    builder.jump(add_tool_calls(builder, json, begin, shape.functions, shape.several_calls), end);
  }
  try {
    add_content(builder, json, begin, end, shape);
    Automaton automaton = std::move(builder).build(message);
    Matcher(automaton).start();  // throws if it is too ambiguous at the start
    return Grammar(std::move(automaton));
  } catch (const Error& e) {
    if (shape.where.empty() || std::string_view(e.what()).starts_with(shape.where)) throw;
    throw Error(fmt::format("{}: {}", shape.where, e.what()));
  }
}

Grammar Grammar::json_object() {
  MessageShape shape;
  shape.content = Content::kJsonObject;
  return message(shape);
}

Grammar Grammar::from_json_schema(const nlohmann::ordered_json& schema, const std::string& where) {
  MessageShape shape;
  shape.content = Content::kJsonSchema;
  shape.schema = schema;
  shape.where = where;
  return message(shape);
}

Grammar Grammar::from_regex(const std::string& regex) {
  MessageShape shape;
  shape.content = Content::kRegex;
  shape.text = regex;
  return message(shape);
}

Grammar Grammar::from_ebnf(const std::string& text) {
  MessageShape shape;
  shape.content = Content::kEbnf;
  shape.text = text;
  return message(shape);
}

bool Grammar::accepts(std::string_view bytes) const {
  Matcher matcher(automaton_);
  Matcher::Position position = matcher.start();
  for (const char byte : bytes) position = matcher.next(position, static_cast<std::uint8_t>(byte));
  return matcher.complete(position);
}

}  // namespace outrider
