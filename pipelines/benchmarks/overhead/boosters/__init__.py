"""Measures the cost of watching a booster: time per round, and its growth with the rounds.

How it is measured, and why, where it differs from `pipelines.benchmarks.overhead`:

- Both arms are whole trainings by the library's own `train`, each in a thread of its own, and only one runs at a time:
  they hand over to each other after every block of rounds, and the order is swapped each time. Other work of the
  machine then hits both alike, and a block is compared with the block of the same rounds, for rounds get slower.
- Both arms evaluate the training and the validation rows in every round: a tracker asks for that, but it is the user's
  choice and no work of the tracker's. The callback alone is compared.
- A block is a window of the tracker, so that each has the work that is done once a window in it.
- `ratio_median` and the like are of wall time. `cpu_ratio` is all CPU time over all CPU time: it includes work that is
done once in a while, as `ratio_mean` does, and is not moved by other processes. With several threads it counts them
all. - `tracker_ms` is CPU time within the callback, and `growth` comes from the same, for the difference of two arms is
mostly noise: it says how the time of a training grows from a quarter of its rounds to all, as an exponent: 1 where a
round
  costs the same however many came before.
- Both arms must end with the same bytes.
"""
