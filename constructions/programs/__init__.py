"""What machines run: Turing machines, an assembler, named and training programs, SUBLEQ."""
