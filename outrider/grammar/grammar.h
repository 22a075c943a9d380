#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/grammar/automaton/automaton.h"

namespace outrider {

// What an assistant's message may be.
struct MessageShape {
  // The text begins with reasoning, which </think> ends; only what follows is constrained.
  bool reasoning = false;

  enum class Content { kNone, kJsonObject, kJsonSchema };
  Content content = Content::kNone;
  nlohmann::ordered_json schema;  // of kJsonSchema
  std::string schema_where;       // what messages call it: "response_format.json_schema.schema"

  // Functions that may be called instead of writing content, as OpenAI's `tools` describe them (the object with "name"
  // and "parameters"), in DSML.
  std::vector<nlohmann::ordered_json> functions;
  bool several_calls = false;
};

// The texts that a model may write. Immutable.
//
// JSON is written with at most one space or two line feeds and 20 blanks where white space may stand, and numbers have
// at most 16 digits before and behind the point, so that no text goes on without end by itself. Which keywords of JSON
// Schema are understood is told in docs/structured-output.md.
class Grammar {
 public:
  // Any JSON object.
  static Grammar json_object();
  // JSON that satisfies a schema. Throws Error, with `where` and the place within the schema, for keywords that are not
  // understood, for schemas that nothing satisfies, and for those that are too large.
  static Grammar from_json_schema(const nlohmann::ordered_json& schema, const std::string& where = "schema");
  // A whole message. Throws Error as from_json_schema.
  static Grammar message(const MessageShape& shape);

  const Automaton& automaton() const { return automaton_; }
  // Whether a text is one of the grammar's; special tokens in it stand behind kSpecialToken.
  bool accepts(std::string_view bytes) const;

 private:
  explicit Grammar(Automaton automaton) : automaton_(std::move(automaton)) {}

  Automaton automaton_;
};

}  // namespace outrider
