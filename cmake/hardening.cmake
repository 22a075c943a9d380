# What Debian's hardening=+all asks of a program, plus control-flow and stack-clash protection: tests/package/hardening.py
# checks it in what is shipped. Sanitizers bring their own checks, and compile without optimisation, which FORTIFY needs.
include(CheckPIESupported)
check_pie_supported()
if(NOT OUTRIDER_SANITIZE)
  add_compile_options(-fstack-protector-strong -fstack-clash-protection
                      $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE> $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    add_compile_options(-fcf-protection=full)
  endif()
  add_link_options(LINKER:-z,relro LINKER:-z,now LINKER:-z,noexecstack)
endif()
