#include "outrider/grammar/schema/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>

#include "outrider/grammar/grammar.h"
#include "outrider/prompt/python_json.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;
using ::testing::AllOf;
using ::testing::HasSubstr;

void expect(std::string_view schema, std::initializer_list<std::string_view> accepted,
            std::initializer_list<std::string_view> rejected) {
  SCOPED_TRACE(schema);
  const Grammar grammar = Grammar::from_json_schema(ordered_json::parse(schema));
  for (const std::string_view text : accepted) EXPECT_TRUE(grammar.accepts(text)) << text;
  for (const std::string_view text : rejected) EXPECT_FALSE(grammar.accepts(text)) << text;
}

std::string error_of(const ordered_json& schema) {
  try {
    Grammar::from_json_schema(schema, "response_format");
  } catch (const Error& e) {
    return e.what();
  }
  return "none";
}

TEST(JsonObject, AcceptsAnyObject) {
  const Grammar grammar = Grammar::json_object();
  for (const std::string_view text :
       {"{}", "{ }", R"({"a":1})", R"({"a": [1, 2.5e-3, {"b": null}], "c": "ü\"\\\u00e9\ud83d\ude00"})",
        "{\n  \"a\": [\n    true\n  ]\n}", R"({"":-0})"}) {
    EXPECT_TRUE(grammar.accepts(text)) << text;
  }
  for (const std::string_view text : {"",
                                      "[]",
                                      "1",
                                      " {}",
                                      "{} ",
                                      "{",
                                      R"({"a":1,})",
                                      R"({a:1})",
                                      R"({"a":01})",
                                      R"({"a":.5})",
                                      R"({"a":1.})",
                                      R"({"a":"\x"})",
                                      R"({"a":"\ud83d"})",
                                      R"({"a":"\ude00"})",
                                      "{\"a\":\"\n\"}",
                                      "{\"a\":\"\xff\"}",
                                      "{\"a\":\"\xc0\x80\"}",
                                      "{\"a\":\"\xed\xa0\x80\"}",
                                      "{\n\n\n}",
                                      R"({"a":1e999})"}) {
    EXPECT_FALSE(grammar.accepts(text)) << text;
  }
}

TEST(JsonSchema, ChecksTypes) {
  expect(R"({"type":"string"})", {R"("")", R"("a")"}, {"1", "null", R"("a)"});
  expect(R"({"type":"integer"})", {"0", "-7", "1234567890123456"}, {"1.0", "01", "1e2", "+1", "12345678901234567"});
  expect(R"({"type":"number"})", {"0", "-7.25", "1e2", "1.5E-3"}, {"1.", ".5", "1e", "NaN"});
  expect(R"({"type":"boolean"})", {"true", "false"}, {"null", "True", "truefalse"});
  expect(R"({"type":["string","null"]})", {"null", R"("x")"}, {"1"});
  expect(R"({"type":"string","nullable":true})", {"null", R"("x")"}, {"1"});
  expect(R"({})", {"null", "1", "[]", "{}", R"("x")", "[1,[2]]"}, {"", "[1,]"});
  expect("true", {"null", "1"}, {""});
}

TEST(JsonSchema, PropertiesAreInSchemaOrder) {
  constexpr const char* kSchema =
      R"({"type":"object","properties":{"b":{"type":"integer"},"a":{"type":"string"},"c":{"type":"null"}},
          "required":["b"]})";
  expect(
      kSchema,
      {R"({"b":1})", R"({"b": 1, "a": "x"})", R"({"b":1,"c":null})", R"({"b":1,"a":"x","c":null})", "{\n \"b\": 1\n}"},
      {"{}", R"({"a":"x"})", R"({"a":"x","b":1})", R"({"b":"x"})", R"({"b":1,"d":2})", R"({"b":1,"b":1})"});
  expect(R"({"properties":{"a":{},"b":{}},"required":["a","b"],"additionalProperties":false})", {R"({"a":1,"b":[2]})"},
         {R"({"a":1})", R"({"b":1,"a":1})"});
  expect(R"({"properties":{"a":{"type":"null"},"b":{"type":"null"}}})",
         {"{}", R"({"a":null})", R"({"b":null})", R"({"a":null,"b":null})"}, {"{,}", R"({"a":null,})"});
}

TEST(JsonSchema, AdditionalPropertiesHaveOtherNames) {
  expect(R"({"properties":{"ab":{"type":"null"}},"additionalProperties":{"type":"integer"}})",
         {"{}", R"({"ab":null})", R"({"a":1})", R"({"abc":1,"x":2})", R"({"ab":null,"":3,"ü":4})", R"({"a\"b":1})"},
         {R"({"ab":1})", R"({"a":null})", R"({"\u0061b":1})", R"({"x":1,"ab":null})"});
  expect(R"({"type":"object","additionalProperties":{"type":"integer"}})", {"{}", R"({"a":1,"b":2})"},
         {R"({"a":"x"})"});
  expect(R"({"type":"object","additionalProperties":false})", {"{}", "{ }"}, {R"({"a":1})"});
  expect(R"({"type":"object","properties":{},"required":["x"]})", {R"({"x":[1]})"}, {"{}"});
}

TEST(JsonSchema, EnumAndConstAreLiteral) {
  expect(R"({"enum":["red","green","re",1,null,{"a":[1]}]})",
         {R"("red")", R"("re")", R"("green")", "1", "null", R"({"a":[1]})"}, {R"("r")", "2", "red"});
  expect(R"({"type":"string","enum":["x",1]})", {R"("x")"}, {"1"});
  expect(R"({"const":"a\"b"})", {R"("a\"b")"}, {R"("a"b")"});
  expect(R"({"enum":["a","b"],"const":"b"})", {R"("b")"}, {R"("a")"});
}

TEST(JsonSchema, CountsItems) {
  expect(R"({"type":"array","items":{"type":"integer"}})", {"[]", "[1]", "[1, 2,3]", "[\n 1,\n 2\n]"},
         {"[,]", "[1,]", R"(["a"])"});
  expect(R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3})", {"[1,2]", "[1,2,3]"},
         {"[]", "[1]", "[1,2,3,4]"});
  expect(R"({"items":{"type":"integer"},"minItems":2})", {"[1,2]", "[1,2,3,4,5]"}, {"[]", "[1]"});
  expect(R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"});
  expect(R"({"prefixItems":[{"type":"string"},{"type":"null"}],"items":{"type":"integer"}})",
         {"[]", R"(["a"])", R"(["a",null])", R"(["a",null,1,2])"}, {"[1]", R"(["a",1])", R"(["a",null,"b"])"});
  expect(R"({"prefixItems":[{"type":"string"},{"type":"null"}],"items":false,"minItems":2})", {R"(["a",null])"},
         {R"(["a"])", R"(["a",null,1])"});
}

TEST(JsonSchema, CombinesAnyOfAndAllOf) {
  expect(R"({"anyOf":[{"type":"integer"},{"type":"array","items":{"type":"null"}}]})", {"1", "[null]"},
         {"[1]", "null"});
  expect(R"({"type":"object","properties":{"kind":{"type":"string"}},"required":["kind"],
             "oneOf":[{"properties":{"kind":{"const":"a"}}},{"properties":{"kind":{"const":"b"}}}]})",
         {R"({"kind":"a"})", R"({"kind":"b"})"}, {R"({"kind":"c"})", "{}"});
  expect(R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},
                      {"properties":{"b":{"type":"string"}},"required":["b"]}]})",
         {R"({"a":1,"b":"x"})"}, {R"({"a":1})", R"({"b":"x"})"});
  expect(R"({"allOf":[{"type":"number","minimum":3},{"type":"integer","minimum":1,"maximum":9}]})", {"3", "9"},
         {"2", "10", "4.5"});
}

TEST(JsonSchema, ReferencesMayBeRecursive) {
  expect(R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{
             "value":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},
             "required":["value","next"],"additionalProperties":false}}})",
         {R"({"value":1,"next":null})", R"({"value":1,"next":{"value":2,"next":{"value":3,"next":null}}})"},
         {R"({"value":1})", R"({"value":1,"next":1})"});
  expect(R"({"type":"array","items":{"$ref":"#","description":"again"}})", {"[]", "[[],[[]]]"}, {"[1]"});
  expect(R"({"definitions":{"a/b":{"type":"null"}},"$ref":"#/definitions/a~1b"})", {"null"}, {"1"});
  expect(R"({"$defs":{"s":{"type":"string"}},"properties":{"x":{"$ref":"#/$defs/s","maxLength":1}}})", {R"({"x":"a"})"},
         {R"({"x":"ab"})"});
}

TEST(JsonSchema, CountsCodePointsOfStrings) {
  expect(R"({"type":"string","minLength":1,"maxLength":2})",
         {R"("a")", R"("äö")", R"("\n\u00e9")", R"("\ud83d\ude00x")"}, {R"("")", R"("abc")"});
  expect(R"({"type":"string","minLength":2})", {R"("ab")", R"("abcdef")"}, {R"("a")"});
}

TEST(JsonSchema, MatchesPatternsAndFormats) {
  expect(R"({"pattern":"^[a-c]{2,3}\\d?$"})", {R"("ab")", R"("abc7")"}, {R"("a")", R"("abcd")", R"("ab77")"});
  expect(R"({"pattern":"b"})", {R"("b")", R"("abc")", R"("\nb")"}, {R"("ac")", R"("")"});
  expect(R"({"pattern":"^(?:red|green)$|^x+$"})", {R"("red")", R"("xxx")"}, {R"("redx")", R"("")"});
  expect(R"({"pattern":"^[^a\"]\\\\.$"})", {R"("x\\ü")", R"("ä\\\"")"}, {R"("a\\b")", R"("\"\\b")", R"("x\\\n")"});
  expect(R"({"pattern":"^[\\u4e00-\\u9fff]+$"})", {R"("中文")"}, {R"("a")"});
  expect(R"({"format":"date"})", {R"("2024-12-31")", R"("2024-02-28")"}, {R"("2024-13-01")", R"("2024-02-30")"});
  expect(R"({"format":"date-time"})", {R"("2024-12-31T23:59:59Z")"}, {R"("2024-12-31")"});
  expect(R"({"format":"uuid"})", {R"("123e4567-e89b-12d3-a456-426614174000")"}, {R"("123")"});
  expect(R"({"format":"ipv4"})", {R"("192.168.0.255")"}, {R"("192.168.0.256")", R"("1.2.3")"});
  expect(R"({"type":"string","format":"something-else"})", {R"("x")"}, {"1"});
}

// Every integer of an interval, and decimals near its bounds.
TEST(JsonSchema, ChecksBoundsOfNumbers) {
  for (const auto& [min, max] : {std::pair{0, 0}, {0, 9}, {7, 123}, {-12, 5}, {-130, -99}, {99, 1000}, {-1, 0}}) {
    const ordered_json schema = {{"type", "integer"}, {"minimum", min}, {"maximum", max}};
    const Grammar grammar = Grammar::from_json_schema(schema);
    for (int i = -1500; i <= 1500; ++i) {
      EXPECT_EQ(grammar.accepts(std::to_string(i)), min <= i && i <= max) << i << " in " << schema;
    }
  }
  expect(R"({"type":"number","minimum":0,"maximum":1})", {"0", "1", "0.5", "1.000", "0.0"},
         {"1.01", "-0.1", "2", "1e0"});
  expect(R"({"type":"number","exclusiveMinimum":0,"exclusiveMaximum":1.5})", {"0.001", "1.49", "1"},
         {"0", "0.0", "1.5", "1.50", "1.51"});
  expect(R"({"type":"number","minimum":-2.25,"exclusiveMaximum":-1})", {"-2.25", "-2", "-1.01"},
         {"-2.26", "-1", "-1.0", "0", "1"});
  expect(R"({"type":"integer","minimum":1.5})", {"2", "10", "999"}, {"1", "0", "-5"});
  expect(R"({"type":"integer","minimum":1e3})", {"1000", "4321"}, {"999"});
  expect(R"({"type":"number","maximum":2.5e-7})", {"0.00000025", "-3", "0"}, {"0.00000026", "1"});
}

TEST(JsonSchema, ErrorsNameUnsupportedKeywordsAndTheirPlace) {
  EXPECT_THAT(error_of({{"properties", {{"a", {{"not", {{"type", "null"}}}}}}}}),
              AllOf(HasSubstr("response_format"), HasSubstr("#/properties/a"), HasSubstr("\"not\"")));
  for (const char* keyword :
       {"patternProperties", "if", "contains", "multipleOf", "dependentRequired", "uniqueItems"}) {
    EXPECT_THAT(error_of({{"type", "object"}, {keyword, true}}), HasSubstr(keyword));
  }
  EXPECT_THAT(error_of({{"type", "text"}}), HasSubstr("\"type\" must be one of"));
  EXPECT_THAT(error_of({{"$ref", "#/$defs/missing"}}), HasSubstr("does not exist in the schema"));
  EXPECT_THAT(error_of({{"$ref", "https://example.com"}}), HasSubstr("refers to another document"));
  EXPECT_THAT(error_of({{"pattern", "a(?=b)"}}), HasSubstr("(?"));
  EXPECT_THAT(error_of({{"pattern", "(a)\\1"}}), HasSubstr("\\1"));
  EXPECT_THAT(error_of({{"pattern", "a{2"}}), HasSubstr("count"));
  EXPECT_THAT(error_of({{"pattern", "a\xFF"}}), HasSubstr("UTF-8"));
  EXPECT_THAT(error_of({{"type", "string"}, {"minLength", -1}}), HasSubstr("minLength"));
  EXPECT_THAT(error_of(3), HasSubstr("a schema must be an object"));
}

TEST(JsonSchema, RejectsIntegersBeyond64Bits) {
  EXPECT_THAT(error_of(parse_python_json(R"({"enum":[1,123456789012345678901234567890]})", "test")),
              HasSubstr("64 bits"));
}

TEST(JsonSchema, RejectsUnsatisfiableSchemas) {
  EXPECT_THAT(error_of(false), HasSubstr("no text"));
  EXPECT_THAT(error_of({{"type", "integer"}, {"minimum", 3}, {"maximum", 2}}), HasSubstr("no text"));
  EXPECT_THAT(error_of({{"type", "array"}, {"minItems", 2}, {"maxItems", 1}}), HasSubstr("no text"));
  EXPECT_THAT(error_of(ordered_json::parse(R"({"properties":{"a":{"$ref":"#"}},"required":["a"]})")),
              HasSubstr("no text"));
  EXPECT_THAT(error_of(ordered_json::parse(R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})")), HasSubstr("itself"));
  EXPECT_THAT(error_of(ordered_json::parse(R"({"$ref":"#"})")), HasSubstr("no text"));
}

TEST(JsonSchema, RejectsHostileSchemas) {
  EXPECT_THAT(error_of({{"type", "string"}, {"maxLength", 1'000'000'000}}), HasSubstr("large"));
  EXPECT_THAT(error_of({{"type", "array"}, {"minItems", 1'000'000'000}}), HasSubstr("large"));
  EXPECT_THAT(error_of({{"pattern", "^((((a{99}){99}){99}){99}){99}$"}}), HasSubstr("too many states"));
  EXPECT_THAT(error_of({{"pattern",
                         "(((((((((((((((((((((((((((((a*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*"}}),
              HasSubstr("too many states"));
  EXPECT_THAT(error_of({{"pattern", "^(a|b)*a(a|b){40}$"}}), HasSubstr("too many states"));
  EXPECT_THAT(
      error_of(ordered_json::parse(
          R"({"$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"},{"type":"null"}]}},"$ref":"#/$defs/a","title":"x"})")),
      HasSubstr("no text"));
  // Many patterns that are each just small enough.
  ordered_json many = {{"type", "object"}, {"properties", ordered_json::object()}};
  for (int i = 0; i < 2000; ++i) {
    many["properties"][std::to_string(i)] = {{"type", "string"},
                                             {"pattern", "^(a|b)*a(a|b){8}c{" + std::to_string(i) + "}$"}};
  }
  EXPECT_THAT(error_of(many), HasSubstr("make it s"));
  EXPECT_THAT(error_of({{"pattern", "^[" + std::string(100'000, 'a') + "]{5000}$"}}), HasSubstr("too many states"));
  EXPECT_THAT(error_of({{"description", std::string(2'000'000, 'x')}}), HasSubstr("2000018 bytes"));
  // Large definitions with many references.
  ordered_json values = ordered_json::array();
  for (int i = 0; i < 40'000; ++i) values.push_back(std::to_string(i));
  ordered_json often = {{"$defs", {{"a", {{"enum", values}}}}}, {"properties", ordered_json::object()}};
  for (int i = 0; i < 5'000; ++i) {
    often["properties"][std::to_string(i)] = {{"$ref", "#/$defs/a"}, {"title", std::to_string(i)}};
  }
  EXPECT_THAT(error_of(often), HasSubstr("too long to compile"));
  // Many schemas of one property that must all be satisfied.
  ordered_json all = ordered_json::array();
  for (int i = 0; i < 15'000; ++i) all.push_back({{"properties", {{"a", {{"maxLength", i + 5}}}}}});
  EXPECT_THAT(error_of({{"allOf", all}}), HasSubstr("too long to compile"));
  // A key whose prefixes would take gigabytes.
  EXPECT_THAT(error_of({{"properties", {{std::string(100'000, 'k'), true}}}, {"additionalProperties", true}}),
              HasSubstr("large"));
  EXPECT_EQ(error_of({{"properties", {{std::string(1'000, 'k'), true}}}, {"additionalProperties", true}}), "none");
  // 2^40 nested alternatives that are all equal...
  ordered_json same = {{"$defs", ordered_json::object()}, {"$ref", "#/$defs/0"}};
  ordered_json different = same;
  const auto reference = [](int i, const char* title) {
    return ordered_json{{"$ref", "#/$defs/" + std::to_string(i)}, {"title", title}};
  };
  for (int i = 0; i < 40; ++i) {
    same["$defs"][std::to_string(i)] = {{"anyOf", {reference(i + 1, "a"), reference(i + 1, "b")}}};
    // ... and that are all different.
    const auto list = [&](const char* title) {
      return ordered_json{{"type", "array"}, {"items", reference(i + 1, title)}, {"minItems", title[0] == 'a' ? 1 : 2}};
    };
    different["$defs"][std::to_string(i)] = {{"anyOf", {list("a"), list("b")}}};
  }
  same["$defs"]["40"] = {{"type", "null"}};
  different["$defs"]["40"] = {{"type", "null"}};
  expect(same.dump(), {"null"}, {"true"});
  const Grammar ambiguous = Grammar::from_json_schema(different);
  EXPECT_THROW(ambiguous.accepts(std::string(40, '[')), Error);
  ordered_json deep = {{"type", "null"}};
  for (int i = 0; i < 500; ++i) deep = {{"type", "array"}, {"items", deep}};
  EXPECT_EQ(error_of(deep), "none");
}

}  // namespace
}  // namespace outrider
