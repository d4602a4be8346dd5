"""Mutated inputs of every kind: each must end in a result or in one of our errors, within limits and inside its folder.

``python -m benchmarks.fuzz [KIND ...] [--cases 10000] [--seed 1] [--jobs 1]`` prints a table and, for every failure, what
runs its case alone. A kind is a module of :data:`benchmarks.fuzz.kinds.KINDS` with

    prepare(seeds)                          write valid inputs into the empty folder `seeds`; once in a run
    valid_cases(seeds, folder) -> [case]    the inputs as they are, which must end in a result; they also import what is lazy
    make_case(rng, seeds, folder) -> case   one mutated input, all its files in the empty folder `folder`, all chance from `rng`,
                                            a random.Random: the same case for the same seed and number; repr(case) is shown
    run_case(case) -> str                   call what the commands call; a word for the statistics ("read", "3 rows", "")
    SECONDS, MEMORY_MB                      limits of a case, where 20 s and 512 MB do not do
    ALLOWED                                 audit events that are no failure of this kind, such as "subprocess.Popen"

`make_case` may also raise UserError. Files of `seeds` are to be copied, never changed. The current folder is `folder`, and so is
the place of temporary files. While `run_case` runs, :mod:`benchmarks.fuzz.guard` refuses and records what writes, moves or
removes anything outside of `folder`, starts a process, connects, unpickles, or runs code that comes from no file.
"""
