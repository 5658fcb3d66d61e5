"""What watching a booster costs: time per round, and how it grows with the rounds.

How it is measured, and why, where it differs from `pipelines.overhead`:

- Both arms are whole trainings by the library's own `train`, each in a thread of its own, and only one runs at a time:
  they hand over to each other after every block of rounds, and the order is swapped each time. What else the machine
  does then hits both alike, and a block is compared with the block of the same rounds, for rounds get slower.
- Both arms evaluate the training and the validation rows in every round: a tracker asks for that, but it is the user's
  choice and no work of the tracker's. What is compared is the callback alone.
- A block is a window of the tracker, so that each has the work that is done once a window in it.
- `ratio_median` and the like are of wall time. `cpu_ratio` is all CPU time over all CPU time: it has in it what is done
  once in a while, as `ratio_mean` has, and is not moved by other processes. With several threads it counts them all.
- `tracker_ms` is CPU time within the callback, and so is what `growth` comes from, for the difference of two arms is
  mostly noise: how the time of a training grows from a quarter of its rounds to all, as an exponent: 1 where a round
  costs the same however many came before.
- Both arms must end with the same bytes.
"""
