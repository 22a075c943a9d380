#include "outrider/hub/settings.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "outrider/testing/error_message.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using testing::error_message;

Environment environment(const std::map<std::string, std::string>& values) {
  return [values](const std::string& name) -> std::optional<std::string> {
    const auto it = values.find(name);
    return it == values.end() ? std::nullopt : std::optional(it->second);
  };
}

TEST(HubSettings, Defaults) {
  const HubSettings settings = read_hub_settings(environment({{"HOME", "/nowhere"}}));
  EXPECT_EQ(settings.endpoint.origin(), "https://huggingface.co");
  EXPECT_EQ(settings.endpoint.path, "");
  EXPECT_EQ(settings.token, "");
  EXPECT_FALSE(settings.offline);
  EXPECT_EQ(settings.cache, "/nowhere/.cache/outrider");
}

TEST(HubSettings, ReadsTheVariablesOfHuggingFace) {
  const HubSettings settings = read_hub_settings(environment({{"HF_ENDPOINT", "https://mirror.example/hf/"},
                                                              {"HF_TOKEN", " hf_x\n"},
                                                              {"HF_HUB_OFFLINE", "true"},
                                                              {"HF_HUB_DOWNLOAD_TIMEOUT", "42"},
                                                              {"XDG_CACHE_HOME", "/x"}}));
  EXPECT_EQ(settings.endpoint.text(), "https://mirror.example/hf");
  EXPECT_EQ(settings.token, "hf_x");
  EXPECT_TRUE(settings.offline);
  EXPECT_EQ(settings.timeout, std::chrono::seconds(42));
  EXPECT_EQ(settings.cache, "/x/outrider");
  EXPECT_EQ(read_hub_settings(environment({{"OUTRIDER_CACHE", "/c"}})).cache, "/c");
  EXPECT_EQ(read_hub_settings(environment({{"HF_TOKEN", "x"}, {"HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"}})).token, "");
  for (const char* timeout : {"0", "-1", "x", "99999999999"}) {
    EXPECT_NE(error_message([&] { read_hub_settings(environment({{"HF_HUB_DOWNLOAD_TIMEOUT", timeout}})); }), "");
  }
  EXPECT_NE(error_message([] {
              read_hub_settings(environment({{"HF_ENDPOINT", "mirror"}}));
            }).find("HF_ENDPOINT"),
            std::string::npos);
  EXPECT_NE(error_message([] { read_hub_settings(environment({{"HF_TOKEN", "a\r\nHost: b"}})); }), "");
}

TEST(HubSettings, ReadsTheTokenThatLoginWrote) {
  const testing::TempDir dir;
  std::ofstream(dir.path() / "token") << "hf_file\n";
  const std::string home = dir.path().string();
  EXPECT_EQ(read_hub_settings(environment({{"HF_HOME", home}})).token, "hf_file");
  EXPECT_EQ(read_hub_settings(environment({{"HF_TOKEN_PATH", home + "/token"}})).token, "hf_file");
  EXPECT_EQ(read_hub_settings(environment({{"HF_HOME", home}, {"HF_TOKEN", "hf_own"}})).token, "hf_own");
}

TEST(HubSettings, TheTokenIsForTheEndpointAlone) {
  const Url endpoint = parse_url("https://hub.example");
  EXPECT_TRUE(may_carry_token(parse_url("https://hub.example:443/a"), endpoint));
  EXPECT_TRUE(may_carry_token(parse_url("https://HUB.example/b"), endpoint));
  for (const char* other : {"http://hub.example/a", "https://hub.example:444/a", "https://cdn.hub.example/a",
                            "https://hub.example.evil/a", "http://hub.example:443/"}) {
    EXPECT_FALSE(may_carry_token(parse_url(other), endpoint)) << other;
  }
}

TEST(HubProxy, IsChosenAsCurlDoes) {
  const auto proxy = [](const char* url, std::map<std::string, std::string> values) {
    const auto found = proxy_for(parse_url(url), environment(values));
    return found ? found->url.authority() + " " + found->authorization : "none";
  };
  EXPECT_EQ(proxy("https://h/", {}), "none");
  EXPECT_EQ(proxy("https://h/", {{"HTTPS_PROXY", "http://p:3128"}}), "p:3128 ");
  EXPECT_EQ(proxy("https://h/", {{"HTTPS_PROXY", "http://big"}, {"https_proxy", "small:1"}}), "small:1 ");
  EXPECT_EQ(proxy("https://h/", {{"HTTP_PROXY", "http://p"}}), "none");
  EXPECT_EQ(proxy("http://h/", {{"HTTP_PROXY", "http://p"}}), "p ");
  EXPECT_EQ(proxy("http://h/", {{"ALL_PROXY", "http://p"}}), "p ");
  EXPECT_EQ(proxy("https://h/", {{"https_proxy", "http://u:p%40ss@p:1/"}}), "p:1 Basic dTpwQHNz");
  EXPECT_EQ(proxy("https://h/", {{"https_proxy", "http://p"}, {"NO_PROXY", "x,h"}}), "none");
  EXPECT_NE(error_message([&] { proxy("https://h/", {{"https_proxy", "socks5h://p:1"}}); }), "");
}

TEST(HubProxy, NoProxyNamesHosts) {
  const Url url = parse_url("https://a.example.org:8443/");
  for (const char* list :
       {"*", "example.org", ".example.org", "*.example.org", "x, EXAMPLE.org", "a.example.org:8443"}) {
    EXPECT_TRUE(is_excluded(list, url)) << list;
  }
  for (const char* list : {"", "b.example.org", "ample.org", "a.example.org:443", "org.example", ","}) {
    EXPECT_FALSE(is_excluded(list, url)) << list;
  }
  EXPECT_TRUE(is_excluded("10.0.0.0/8", parse_url("https://10.1.2.3/")));
  EXPECT_FALSE(is_excluded("10.0.0.0/8", parse_url("https://11.1.2.3/")));
  EXPECT_FALSE(is_excluded("10.0.0.0/8", parse_url("https://ten.example/")));
  EXPECT_TRUE(is_excluded("[::1]:443", parse_url("https://[::1]/")));
  EXPECT_TRUE(is_excluded("::1", parse_url("https://[::1]/")));
}

TEST(HubProxy, Base64) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
}

}  // namespace
}  // namespace outrider
