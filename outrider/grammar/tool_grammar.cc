#include "outrider/grammar/tool_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "outrider/grammar/free_text.h"
#include "outrider/grammar/schema/json_schema.h"
#include "outrider/prompt/markup.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;
using State = Automaton::State;

// The first and last character of ｜DSML｜.
constexpr char32_t kFullwidthBar = 0xFF5C;

// Adds `v</｜DSML｜parameter>\n` and what precedes it.
State add_parameter(AutomatonBuilder& builder, JsonSchemaCompiler& compiler, State from, const std::string& name,
                    const ordered_json& given, const std::string& path) {
  if (name.find('"') != std::string::npos) {
    throw Error(
        fmt::format("The parameter name \"{}\" contains a quote, which DSML cannot represent.", printable(name)));
  }
  const ordered_json schema = compiler.resolved(given, path);
  const auto opening = [&](bool string) {
    return add_markup(builder, from,
                      fmt::format("{} name=\"{}\" string=\"{}\">", markup::kParameterStart, name, string));
  };
  const std::string closing = fmt::format("<{}>\n", markup::kParameterEnd);
  const State value = builder.new_state();
  const State plain = opening(true);
  if (compiler.add_plain_string(plain, value, schema, path, kFullwidthBar)) {
    return add_markup(builder, value, closing);
  }
  if (schema.is_object() && schema.value("type", ordered_json()) == "string" && !schema.contains("anyOf") &&
      !schema.contains("oneOf") && !schema.contains("allOf")) {
    const std::size_t bar = closing.find(markup::kDsml) + markup::kDsml.size();
    const std::string_view text = closing;
    const State mark = add_text_until(builder, plain, text.substr(0, bar), {markup::kDsml});
    return builder.literal(mark, text.substr(bar));
  }
  return add_markup(builder, builder.call(opening(false), compiler.rule_of(schema, path)), closing);
}

}  // namespace

State add_tool_calls(AutomatonBuilder& builder, JsonText& json, State from, const std::vector<ordered_json>& functions,
                     bool several) {
  const State begin = add_markup(builder, from, fmt::format("\n\n{}>\n", markup::kToolCallsStart));
  const State end = builder.new_state();
  for (const ordered_json& function : functions) {
    const std::string name = function.at("name").get<std::string>();
    const ordered_json parameters = function.value("parameters", ordered_json::object());
    JsonSchemaCompiler compiler(builder, json, parameters, fmt::format("The parameters of \"{}\"", printable(name)));
    const ordered_json schema = compiler.resolved(parameters, "#");
    const ordered_json properties =
        schema.is_object() ? schema.value("properties", ordered_json::object()) : ordered_json::object();
    const ordered_json required =
        schema.is_object() ? schema.value("required", ordered_json::array()) : ordered_json::array();
    if (!properties.is_object()) {
      throw Error(fmt::format("The parameters of \"{}\": \"properties\" must be an object.", printable(name)));
    }
    State at = add_markup(builder, begin, fmt::format("{} name=\"{}\">\n", markup::kInvokeStart, name));
    std::set<std::string> needed;
    for (const ordered_json& each : required) {
      if (each.is_string()) needed.insert(each.get<std::string>());
    }
    for (const auto& [key, value] : properties.items()) {
      const State after = add_parameter(builder, compiler, at, key, value, fmt::format("#/properties/{}", key));
      if (!needed.contains(key)) builder.jump(at, after);
      at = after;
    }
    compiler.finish();
    builder.jump(add_markup(builder, at, fmt::format("{}>\n", markup::kInvokeEnd)), end);
  }
  if (several) builder.jump(end, begin);
  return add_markup(builder, end, markup::kToolCallsEnd);
}

}  // namespace outrider
