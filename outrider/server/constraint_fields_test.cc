#include "outrider/server/constraint_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace outrider {
namespace {

using nlohmann::ordered_json;
using Content = MessageShape::Content;

MessageShape shape_of(const std::string& fields) {
  const ordered_json request = ordered_json::parse("{" + fields + "}");
  return read_constraint(Fields(request), true);
}

TEST(ConstraintFields, ReadsEachListedField) {
  for (const std::string_view name : kConstraintFields) {
    try {
      shape_of("\"" + std::string(name) + "\":7");
      ADD_FAILURE() << name << " is not read";
    } catch (const ApiError& e) {
      EXPECT_EQ(e.param(), name);
    }
  }
}

TEST(ConstraintFields, NamesTheFieldThatConstrains) {
  const MessageShape regex = shape_of(R"("structured_outputs":{"regex":"a+","json":null,"_backend":null})");
  EXPECT_EQ(regex.content, Content::kRegex);
  EXPECT_EQ(regex.text, "a+");
  EXPECT_EQ(regex.where, "structured_outputs.regex");
  const MessageShape json =
      shape_of(R"("structured_outputs":{"json":"{\"type\":\"null\"}","disable_any_whitespace":true})");
  EXPECT_EQ(json.content, Content::kJsonSchema);
  EXPECT_EQ(json.schema["type"], "null");
  EXPECT_TRUE(json.compact);
  EXPECT_EQ(shape_of(R"("response_format":{"type":"json_object","schema":{}})").content, Content::kJsonObject);
  EXPECT_EQ(shape_of(R"("response_format":{"type":"json_object","schema":{"type":"null"}})").where,
            "response_format.schema");
  EXPECT_EQ(shape_of(R"("grammar":"root ::= \"a\"")").content, Content::kEbnf);
}

TEST(ConstraintFields, RefusesASecondConstraint) {
  try {
    shape_of(R"("guided_choice":["a"],"response_format":{"type":"json_object"})");
    ADD_FAILURE();
  } catch (const ApiError& e) {
    EXPECT_EQ(e.status(), 400U);
    EXPECT_STREQ(e.what(), "response_format and guided_choice both constrain the output; leave one of them out.");
    EXPECT_EQ(e.param(), "guided_choice");
  }
}

}  // namespace
}  // namespace outrider
