#pragma once

namespace outrider {

// Gives standard input, output and error a descriptor where the program was started without (`>&-`), one that cannot
// be read or written. Otherwise the first file to be opened would take the number, and what is printed go into it.
// To be called before any file is opened.
void open_standard_streams();

}  // namespace outrider
