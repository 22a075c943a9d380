#include "outrider/hub/remote_address.h"

#include <gtest/gtest.h>

#include "outrider/hub/repository_listing.h"
#include "outrider/testing/error_message.h"

namespace outrider {
namespace {

using testing::error_message;

const Url kEndpoint = [] {
  Url url = parse_url("https://huggingface.co");
  url.path.clear();
  return url;
}();

std::string parsed(const char* text) {
  const RemoteAddress address = parse_remote_address(text, kEndpoint);
  return address.on_hub() ? address.repository + " " + address.revision + " " + address.subfolder : address.base.text();
}

TEST(RemoteAddress, Repositories) {
  EXPECT_EQ(parsed("hf://a/b"), "a/b main ");
  EXPECT_EQ(parsed("hf://models/a/b/"), "a/b main ");
  EXPECT_EQ(parsed("HF://a/b@v1.0/sub/folder"), "a/b v1.0 sub/folder");
  EXPECT_EQ(parsed("hf://a/b@refs/pr/12/sub"), "a/b refs/pr/12 sub");
  EXPECT_EQ(parsed("hf://a/b@feature%2Fx/sub"), "a/b feature/x sub");
  EXPECT_EQ(parsed("hf://a/b/sub"), "a/b main sub");
  for (const char* text : {"hf://a", "hf://", "hf://a/b@", "hf://datasets/a/b", "hf://../b", "hf://a/b@..",
                           "hf://a/b/../c", "hf://a/b?x", "hf://a/b/model.safetensors", "hf://a b/c"}) {
    EXPECT_NE(error_message([&] { parsed(text); }), "") << text;
  }
}

TEST(RemoteAddress, PagesOfTheHub) {
  EXPECT_EQ(parsed("https://huggingface.co/a/b"), "a/b main ");
  EXPECT_EQ(parsed("https://huggingface.co/a/b/tree/v1/sub"), "a/b v1 sub");
  EXPECT_EQ(parsed("https://huggingface.co/a/b/resolve/refs%2Fpr%2F1"), "a/b refs/pr/1 ");
  EXPECT_EQ(parsed("https://huggingface.co:444/a/b"), "https://huggingface.co:444/a/b");
  EXPECT_EQ(parsed("https://mirror.example/a/b/resolve/main/"), "https://mirror.example/a/b/resolve/main");
  EXPECT_NE(error_message([] { parsed("https://mirror.example/a?sig=1"); }), "");
  EXPECT_NE(error_message([] { parsed("https://mirror.example/a/x.safetensors"); }), "");
}

TEST(RemoteAddress, TextParsesAgain) {
  for (const char* text :
       {"hf://a/b", "hf://a/b@v1", "hf://a/b@v1/sub", "hf://a/b@refs/pr/1", "hf://a/b@x%2Fy/s",
        "hf://a/b@refs/pr/1%2Fx/s", "hf://a/b@refs%2Fheads%2Fx", "https://mirror.example/x", "http://localhost:80/a"}) {
    const std::string once = parse_remote_address(text, kEndpoint).text();
    EXPECT_EQ(parsed(once.c_str()), parsed(text));
    EXPECT_EQ(parse_remote_address(once, kEndpoint).text(), once);
    EXPECT_TRUE(is_remote_address(once));
  }
  EXPECT_FALSE(is_remote_address("hf:/a/b"));
  EXPECT_FALSE(is_remote_address("./https://x"));
}

TEST(RemoteAddress, SafeNames) {
  for (const char* name : {"a", "a/b.safetensors", "..a", "a..b/c"}) EXPECT_TRUE(is_safe_name(name)) << name;
  for (const char* name : {"", "/a", "a/", "../a", "a/../b", "a//b", ".", "a/.", "a\nb", "a\\b"}) {
    EXPECT_FALSE(is_safe_name(name)) << name;
  }
  EXPECT_FALSE(is_safe_name(std::string(300, 'x')));
  EXPECT_FALSE(is_safe_name(std::string("a\0b", 3)));
}

TEST(RepositoryListing, Parses) {
  const std::string sha(40, 'a');
  const RepositoryListing listing = parse_listing(
      R"({"sha":")" + sha + R"(","siblings":[{"rfilename":"config.json","size":5,"blobId":"b"},{"rfilename":"../x"},7,
      {"rfilename":"s/m.safetensors","size":-1,"blobId":"c","lfs":{"sha256":"d"}},{"size":3}]})",
      "", "hf://a/b");
  ASSERT_EQ(listing.files.size(), 2U);
  EXPECT_EQ(listing.files[0].size, 5U);
  EXPECT_EQ(listing.files[0].etag, "b");
  EXPECT_EQ(listing.files[1].name, "s/m.safetensors");
  EXPECT_EQ(listing.files[1].size, std::nullopt);
  EXPECT_EQ(listing.files[1].etag, "d");
  for (const char* text : {"", "[]", "{}", "null", R"({"sha":"main","siblings":[]})", R"({"sha":1,"siblings":{}})"}) {
    EXPECT_NE(error_message([&] { parse_listing(text, "", "hf://a/b"); }), "") << text;
  }
}

}  // namespace
}  // namespace outrider
