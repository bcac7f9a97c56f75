"""Ways of writing a Turing machine down, a file each: text becomes rules, rules a machine.

They stand here and not beside the interpreter because what they do is refuse: every fault of a
user's file is an InputError of one line with its place. What they hand out, machines of one tape
or of several, is defined in constructions/programs, without them.
"""
