#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/grammar/automaton/automaton.h"

namespace outrider {

// The structure of an assistant's message.
struct MessageShape {
  // The message begins with reasoning, up to </think>; only the rest is constrained.
  bool reasoning = false;

  enum class Content { kNone, kJsonObject, kJsonSchema, kRegex, kChoice, kEbnf };
  Content content = Content::kNone;
  nlohmann::ordered_json schema;     // for kJsonSchema
  std::string text;                  // for kRegex and kEbnf
  std::vector<std::string> choices;  // for kChoice: well-formed UTF-8
  bool compact = false;              // JSON without white space
  std::string where;                 // the content's name in messages: "response_format.json_schema.schema"

  // Functions that may be called instead of content, in DSML; as in OpenAI's `tools` (the object with "name" and
  // "parameters").
  std::vector<nlohmann::ordered_json> functions;
  bool several_calls = false;
};

// The set of texts that a model may generate. Immutable.
//
// A regular expression (schema/pattern.h) must match the whole content. EBNF is described in ebnf/ebnf.h.
//
// JSON has at most one space, or two line feeds and 20 blanks, wherever white space is allowed, and numbers have at
// most 16 digits before and after the decimal point, so that no output is endless. docs/structured-output.md lists the
// supported keywords of JSON Schema.
class Grammar {
 public:
  // Any JSON object.
  static Grammar json_object();
  // JSON that satisfies a schema. Throws Error, with `where` and the place in the schema, for unsupported keywords and
  // for schemas that are unsatisfiable or too large.
  static Grammar from_json_schema(const nlohmann::ordered_json& schema, const std::string& where = "schema");
  // The texts that a regular expression matches, and those of a grammar in EBNF. Throw Error.
  static Grammar from_regex(const std::string& regex);
  static Grammar from_ebnf(const std::string& text);
  // A whole message. Throws Error as the others do.
  static Grammar message(const MessageShape& shape);

  const Automaton& automaton() const { return automaton_; }
  // Whether the grammar accepts a text; special tokens in it are preceded by kSpecialToken.
  bool accepts(std::string_view bytes) const;

 private:
  explicit Grammar(Automaton automaton) : automaton_(std::move(automaton)) {}

  Automaton automaton_;
};

}  // namespace outrider
