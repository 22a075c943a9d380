#pragma once

#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "outrider/grammar/automaton/automaton.h"
#include "outrider/grammar/automaton/code_points.h"
#include "outrider/grammar/schema/json_text.h"

namespace outrider {

// Compiles a JSON Schema into rules, one for each schema within it. See docs/structured-output.md for what is
// understood; all members throw Error as Grammar::from_json_schema does.
class JsonSchemaCompiler {
 public:
  using State = Automaton::State;
  using Rule = Automaton::Rule;

  // The schema must outlive the compiler. `where`: what messages call it.
  JsonSchemaCompiler(AutomatonBuilder& builder, JsonText& json, const nlohmann::ordered_json& root, std::string where);

  // JSON that satisfies the schema at `path` ("#/properties/a"). Its own schemas are compiled by finish().
  Rule rule_of(const nlohmann::ordered_json& schema, const std::string& path);
  // Compiles what is referred to, until nothing is left.
  void finish();

  // The schema itself where it consists of a reference, followed to its end.
  nlohmann::ordered_json resolved(nlohmann::ordered_json schema, const std::string& path);
  // The strings, if the schema allows nothing else, as they are and not as JSON. False, and nothing added, if it does.
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
  // merge_schemas(), its cost counted.
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
  // The expression that strings must match; empty for any.
  std::string pattern_of(const nlohmann::ordered_json& schema, const std::string& path) const;

  AutomatonBuilder& builder_;
  JsonText& json_;
  const nlohmann::ordered_json& root_;
  std::string where_;
  std::map<std::string, Rule> rules_;  // by the schema's text
  std::deque<Pending> pending_;
};

}  // namespace outrider
