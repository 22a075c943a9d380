#include "outrider/server/api.h"

#include <gtest/gtest.h>

#include "outrider/testing/bundled_model.h"

namespace outrider {
namespace {

unsigned admitted_with(const Api& api, const std::string& method, const std::string& path, const std::string& key,
                       bool has_body = false) {
  HttpRequest header;
  header.has_body = has_body;
  header.method = method;
  header.path = path;
  header.content_type = "application/json";
  if (!key.empty()) header.authorization = "Bearer " + key;
  const auto refused = api.admit(header);
  return refused ? refused->status : 200;
}

TEST(Api, AsksForTheKeyBeforeTheBody) {
  const auto model = testing::load_bundled_model();
  EngineOptions engine_options;
  engine_options.max_model_len = 64;
  Engine engine(*model, testing::bundled_tokenizer(), engine_options);
  Metrics metrics("kjv", engine_options);
  Log log(LogFormat::kText);
  ApiOptions options;
  options.model_names = {"kjv"};
  options.api_key = "secret";
  options.log_requests = false;
  const Api api(options, engine, testing::bundled_tokenizer(), metrics, log, [] { return Health{}; });
  for (const char* path : {"/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"}) {
    EXPECT_EQ(admitted_with(api, "POST", path, ""), 401U) << path;
    EXPECT_EQ(admitted_with(api, "POST", path, "secre"), 401U) << path;
    EXPECT_EQ(admitted_with(api, "POST", path, "secret"), 200U) << path;
  }
  EXPECT_EQ(admitted_with(api, "GET", "/v1/models", ""), 401U);
  for (const char* path : {"/health", "/metrics", "/version", "/"}) {
    EXPECT_EQ(admitted_with(api, "GET", path, ""), 200U) << path;
  }
  EXPECT_EQ(admitted_with(api, "GET", "/v1/completions", ""), 405U);
  // Where no key is asked for, a body could hold memory.
  for (const char* path : {"/health", "/metrics", "/version", "/"}) {
    EXPECT_EQ(admitted_with(api, "GET", path, "", true), 400U) << path;
  }
  EXPECT_EQ(admitted_with(api, "GET", "/v1/models", "secret", true), 200U);
}

}  // namespace
}  // namespace outrider
