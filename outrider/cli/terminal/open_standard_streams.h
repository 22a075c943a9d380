#pragma once

namespace outrider {

// Opens /dev/null for each standard stream that the program was started without (`>&-`), in the wrong direction so that
// using it fails. Otherwise the first opened file would get its number and receive what is printed. Must be called
// before any file is opened.
void open_standard_streams();

}  // namespace outrider
