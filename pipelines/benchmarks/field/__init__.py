"""We inject faults and habits of other people's training loops, and watch them through the public API alone."""
