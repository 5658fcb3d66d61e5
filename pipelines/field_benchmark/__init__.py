"""Faults and habits of other people's training loops, watched through the public API alone."""
