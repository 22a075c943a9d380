#include "outrider/server/http/request_target.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

TEST(PathOfTarget, LeavesOutTheQueryAndTheServer) {
  EXPECT_EQ(path_of_target("/v1/models"), "/v1/models");
  EXPECT_EQ(path_of_target("/v1/models?a=/b"), "/v1/models");
  EXPECT_EQ(path_of_target("http://host:8000/v1/models?a"), "/v1/models");
  EXPECT_EQ(path_of_target("http://host"), "/");
  EXPECT_EQ(path_of_target("/?u=http://host/path"), "/");
  EXPECT_EQ(path_of_target("/a://b"), "/a://b");
  EXPECT_EQ(path_of_target(""), "");
}

TEST(PathOfTarget, DecodesBytes) {
  EXPECT_EQ(path_of_target("/v1%2fmodels%20"), "/v1/models ");
  EXPECT_EQ(path_of_target("/%c3%A4"), "/\u00e4");
  EXPECT_EQ(path_of_target("/%%41"), "/%A");
  for (const char* kept : {"/%", "/%4", "/%4g", "/%g4"}) EXPECT_EQ(path_of_target(kept), kept);
}

}  // namespace
}  // namespace outrider
