#include "outrider/benchmark/base_url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "outrider/util/error.h"

namespace outrider {
namespace {

TEST(BaseUrl, ParsesHostPortAndPath) {
  const BaseUrl plain = parse_base_url("http://example.org");
  EXPECT_EQ(plain.host, "example.org");
  EXPECT_EQ(plain.port, "80");
  EXPECT_EQ(plain.path, "");
  const BaseUrl all = parse_base_url("http://127.0.0.1:8000/some/proxy/");
  EXPECT_EQ(all.host, "127.0.0.1");
  EXPECT_EQ(all.port, "8000");
  EXPECT_EQ(all.path, "/some/proxy");
  EXPECT_EQ(all.text(), "http://127.0.0.1:8000/some/proxy");
  const BaseUrl six = parse_base_url("http://[::1]:9/");
  EXPECT_EQ(six.host, "::1");
  EXPECT_EQ(six.port, "9");
  EXPECT_EQ(six.authority(), "[::1]:9");
  EXPECT_EQ(parse_base_url("http://[::1]").port, "80");
}

TEST(BaseUrl, RejectsEverythingElse) {
  const auto message = [](const char* url) -> std::string {
    try {
      parse_base_url(url);
    } catch (const Error& e) {
      return e.what();
    }
    return "taken";
  };
  EXPECT_THAT(message("https://example.org"), ::testing::HasSubstr("HTTPS is not supported"));
  EXPECT_THAT(message("example.org:8000"), ::testing::HasSubstr("begin with http://"));
  EXPECT_THAT(message("http://"), ::testing::HasSubstr("host is missing"));
  EXPECT_THAT(message("http://:80"), ::testing::HasSubstr("host is missing"));
  EXPECT_THAT(message("http://a:"), ::testing::HasSubstr("port"));
  EXPECT_THAT(message("http://a:65536"), ::testing::HasSubstr("port"));
  EXPECT_THAT(message("http://a:8x"), ::testing::HasSubstr("port"));
  EXPECT_THAT(message("http://[::1"), ::testing::HasSubstr("bracket"));
  EXPECT_THAT(message("http://[::1]x"), ::testing::HasSubstr("bracket"));
  EXPECT_THAT(message("http://a b"), ::testing::HasSubstr("space"));
  EXPECT_THAT(message("http://a/\r\nX: y"), ::testing::HasSubstr("control"));
  EXPECT_THAT(message("http://user@a"), ::testing::HasSubstr("only host"));
}

}  // namespace
}  // namespace outrider
