#include "outrider/util/encode_path.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

TEST(EncodePath, EncodesAllButUnreservedCharactersAndSlashes) {
  EXPECT_EQ(encode_path("a/B-1._~"), "a/B-1._~");
  EXPECT_EQ(encode_path("a b?#%\xc3\xa9"), "a%20b%3F%23%25%C3%A9");
}

}  // namespace
}  // namespace outrider
