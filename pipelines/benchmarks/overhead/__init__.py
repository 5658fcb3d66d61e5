"""Measures the cost of watching an embedding table: time per training step, and memory.

How it is measured, and why:

- Each comparison (a case and a watcher) runs in a process of its own, so that none inherits another's heap, and one
  after the other, so that none disturbs another.
- Two arms train, one of them watched. They are two modules and optimizers over the same memory: two copies of a table,
  wherever they happen to lie, differ by a few per cent in speed, as much as is to be measured. Each step of either arm
  gets a batch of its own, as in a loop: the second arm would find the rows of a shared batch in the cache.
- The arms take turns in short blocks of steps, and the order is swapped each time; two blocks of either arm make a
  round. Other work of the machine then hits both alike, and drifts cancel in the ratio of a round.
- The same is done with two bare arms: the distance of `aa_ratio` from 1 is the machine's part in every figure.
- `ratio_median` is the median over the rounds, with an interval from order statistics: it assumes no distribution,
  needs no random numbers and is not moved by a few rounds that something else interrupted.
- A median hides work that is done once in a while, such as closing a window. `ratio_mean`, all watched time over all
  bare time, does not; it is the noisier of the two. The table is warm before the watcher attaches, and every step
  from then on counts: work that the watcher does at the start weighs more here than in a long run.
- Time is wall time, for which a user waits.
- Memory is counted twice. `tracker_mib` is the memory that the watcher holds: the buffers that can be reached from it,
without
  those of the model and its optimizer; exact, the most over the ends of blocks. `peak_mib` is the rise of the process's
  peak of resident memory (on a GPU: of allocated memory) once it watches: it includes temporaries, and on a CPU it is
  noise below a few MiB.
"""
