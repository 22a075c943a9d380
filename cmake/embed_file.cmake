# cmake -DINPUT=file -DOUTPUT=source.cc -DNAME=function -P embed_file.cmake
# Writes a C++ source with the bytes of a file: std::string_view outrider::NAME().
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "(................................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <string_view>

namespace outrider {

std::string_view ${NAME}();
std::string_view ${NAME}() {
  static constexpr unsigned char kBytes[] = {
${bytes}
};
  return {reinterpret_cast<const char*>(kBytes), sizeof(kBytes)};
}

}  // namespace outrider
")
