"""Measures the cost of watching a network: time per training step, and memory, as it grows in depth and width.

The method is that of `pipelines.benchmarks.overhead` for tables: two arms over the same weights and optimizer state, in
turns of short blocks, one process a comparison, next to two bare arms. Where it differs:

- Each watcher has a line of its own, with its own ratio and limit: `FlowTracker` at every step and by its default
  schedule, the peer library's at every step, and Weights & Biases' `watch` at every step, where they are installed.
- A step is zeroing the gradients, forward, backward and a fused Adam, the fastest that PyTorch has: a slower optimizer
  would make every ratio smaller. `SquaredGradients` is for SGD, and is measured with a fused SGD with momentum.
- Each watcher is given the loss as its documentation asks: `FlowTracker` as a tensor, the others as a float.
- `cpu_ratio` is all CPU time of the watched steps over that of the bare ones: it includes work that is done once in a
while, as `ratio_mean` does, and is not moved by other processes. It does not see the process that `wandb` starts. -
`wandb` runs offline and writes into a folder within the run's that is gone afterwards.
"""
