"""`python -m pipelines.reproduce claims=quick`: every claim of the documentation, from raw data to one table."""

from __future__ import annotations

if __name__ == "__main__":  # the imports take a second
    from flowgrad import exits, output

    output.keep_open()
    exits.leave_quietly()

from flowgrad import exits
from pipelines.benchmarks.claims.reproduction import main

if __name__ == "__main__":
    exits.end(exits.answered(main))
