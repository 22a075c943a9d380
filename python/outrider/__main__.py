"""`python -m outrider` is the program."""

from outrider_program import main

main()
