#pragma once

#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "outrider/grammar/automaton/automaton.h"
#include "outrider/grammar/automaton/code_points.h"
#include "outrider/grammar/schema/json_text.h"

namespace outrider {

// Compiles a JSON Schema into rules, one per subschema. docs/structured-output.md lists what is supported; all members
// throw Error as Grammar::from_json_schema does.
class JsonSchemaCompiler {
 public:
  using State = Automaton::State;
  using Rule = Automaton::Rule;

  // The schema must outlive the compiler. `where`: its name in messages.
  JsonSchemaCompiler(AutomatonBuilder& builder, JsonText& json, const nlohmann::ordered_json& root, std::string where);

  // The rule for JSON that satisfies the schema at `path` ("#/properties/a"). finish() compiles its subschemas.
  Rule rule_of(const nlohmann::ordered_json& schema, const std::string& path);
  // Compiles all pending subschemas.
  void finish();

  // Follows the schema's references to their end.
  nlohmann::ordered_json resolved(nlohmann::ordered_json schema, const std::string& path);
  // If the schema allows only strings, adds them without JSON encoding and returns true; otherwise adds nothing and
  // returns false.
  bool add_plain_string(State from, State to, const nlohmann::ordered_json& schema, const std::string& path,
                        char32_t excluded);

 private:
  struct Pending {
    Rule rule;
    nlohmann::ordered_json schema;
    std::string path;
  };

  [[noreturn]] void refuse(const std::string& path, const std::string& why) const;
  std::string place(const std::string& path) const;
  // merge_schemas() with its cost counted.
  nlohmann::ordered_json merged(const nlohmann::ordered_json& a, const nlohmann::ordered_json& b,
                                const std::string& path);
  const nlohmann::ordered_json& target(const std::string& reference, const std::string& path) const;
  std::uint64_t count(const nlohmann::ordered_json& schema, const char* keyword, const std::string& path) const;
  void check_keywords(const nlohmann::ordered_json& schema, const std::string& path) const;
  std::vector<std::string> types(const nlohmann::ordered_json& schema, const std::string& path) const;

  void compile(const Pending& pending);
  bool add_alternatives(State from, State to, const nlohmann::ordered_json& schema, const std::string& path);
  void add_values(State from, State to, const nlohmann::ordered_json& schema, const std::string& path);
  void add_type(State from, State to, const std::string& type, const nlohmann::ordered_json& schema,
                const std::string& path);
  void add_object(State from, State to, const nlohmann::ordered_json& schema, const std::string& path);
  void add_array(State from, State to, const nlohmann::ordered_json& schema, const std::string& path);
  void add_string(State from, State to, const nlohmann::ordered_json& schema, const std::string& path);
  void add_number(State from, State to, bool integer, const nlohmann::ordered_json& schema, const std::string& path);
  // The regular expression that strings must match; empty if there is none.
  std::string pattern_of(const nlohmann::ordered_json& schema, const std::string& path) const;

  AutomatonBuilder& builder_;
  JsonText& json_;
  const nlohmann::ordered_json& root_;
  std::string where_;
  std::map<std::string, Rule> rules_;  // by the serialized schema
  std::deque<Pending> pending_;
};

}  // namespace outrider
