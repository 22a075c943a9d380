#pragma once

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/optional.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "outrider/server/http/byte_budget.h"

namespace outrider {

// The body of a request, in memory that grows with what arrives: what Content-Length announces may never come. Reading
// fails with errc::not_enough_memory if the share cannot grow.
struct RequestBody {
  struct value_type {
    std::string text;
    std::shared_ptr<ByteBudget::Share> share;
  };

  class reader {  // the name that Beast asks for
   public:
    template <bool is_request, typename Fields>
    reader(boost::beast::http::header<is_request, Fields>&, value_type& body) : body_(body) {}

    void init(const boost::optional<std::uint64_t>& announced, boost::system::error_code& error) {
      announced_ = announced.value_or(~std::uint64_t{0});
      error = {};
    }

    template <typename Buffers>
    std::size_t put(const Buffers& buffers, boost::system::error_code& error) {
      const std::size_t bytes = boost::asio::buffer_size(buffers);
      error = {};
      if (const std::size_t needed = body_.text.size() + bytes; needed > body_.text.capacity()) {
        // Doubled: a string that is as large as it must be would be copied for each piece.
        const std::size_t doubled = std::min<std::uint64_t>(2 * body_.text.capacity(), announced_);
        const std::size_t capacity = std::max(needed, doubled);
        if (body_.share != nullptr && !body_.share->grow(capacity - body_.text.capacity())) {
          error = boost::system::errc::make_error_code(boost::system::errc::not_enough_memory);
          return 0;
        }
        body_.text.reserve(capacity);
      }
      for (const auto& piece : boost::beast::buffers_range_ref(buffers)) {
        body_.text.append(static_cast<const char*>(piece.data()), piece.size());
      }
      return bytes;
    }

    void finish(boost::system::error_code& error) { error = {}; }

   private:
    value_type& body_;
    std::uint64_t announced_ = 0;  // bytes
  };
};

}  // namespace outrider
