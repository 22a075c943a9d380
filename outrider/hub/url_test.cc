#include "outrider/hub/url.h"

#include <gtest/gtest.h>

#include "outrider/testing/error_message.h"

namespace outrider {
namespace {

using testing::error_message;

TEST(HubUrl, Parses) {
  const Url url = parse_url("HTTPS://Hub.Example.org:8443/a/b?x=1#part");
  EXPECT_TRUE(url.tls);
  EXPECT_EQ(url.host, "hub.example.org");
  EXPECT_EQ(url.port, "8443");
  EXPECT_EQ(url.path, "/a/b?x=1");
  EXPECT_EQ(url.text(), "https://hub.example.org:8443/a/b?x=1");
  EXPECT_EQ(url.shown(), "https://hub.example.org:8443/a/b");
  EXPECT_EQ(parse_url("http://h").text(), "http://h/");
  EXPECT_EQ(parse_url("https://h:443/x").authority(), "h");
  EXPECT_EQ(parse_url("http://[::1]:81/x").authority(), "[::1]:81");
  EXPECT_EQ(parse_url("https://h?q").path, "/?q");
}

TEST(HubUrl, RefusesWhatItCannotUse) {
  for (const char* text :
       {"ftp://h/", "file:///etc/passwd", "https://", "https://h:0/", "https://h:99999/", "https://h:/", "https://a b/",
        "https://h/\r\nX: y", "https://[::1/", "https://[::1]x/", "https://h\"/", ""}) {
    EXPECT_NE(error_message([&] { parse_url(text); }), "") << text;
  }
  const std::string secret = error_message([] { parse_url("https://me:secret@h/"); });
  EXPECT_NE(secret.find("are not sent"), std::string::npos);
  EXPECT_EQ(secret.find("secret"), std::string::npos);
}

TEST(HubUrl, FollowsRedirects) {
  const Url from = parse_url("https://h/a/b/c?q=1");
  const auto to = [&](const char* location) { return redirect_target(from, location).text(); };
  EXPECT_EQ(to("https://cdn.example/x?sig=%2F"), "https://cdn.example/x?sig=%2F");
  EXPECT_EQ(to("//cdn.example/x"), "https://cdn.example/x");
  EXPECT_EQ(to("/x?y=/../z"), "https://h/x?y=/../z");
  EXPECT_EQ(to("d"), "https://h/a/b/d");
  EXPECT_EQ(to("../d/./e"), "https://h/a/d/e");
  EXPECT_EQ(to("../../../../d"), "https://h/d");
  EXPECT_EQ(to("?z"), "https://h/a/b/c?z");
  EXPECT_EQ(to("/x?u=https://other/"), "https://h/x?u=https://other/");
  EXPECT_NE(error_message([&] { to("http://h/x"); }).find("from https to http"), std::string::npos);
  EXPECT_NE(error_message([&] { to("file:///etc/passwd"); }), "");
}

}  // namespace
}  // namespace outrider
