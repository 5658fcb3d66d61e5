"""Forward hooks that are taken off while a pass is under way."""

from __future__ import annotations

from typing import Any

TAKEN_OFF: Any = object()
"""Default output of a forward hook registered with `with_kwargs=True`.

PyTorch lists the hooks of a module before it calls the first, and looks up only then which of them want what was given
by name. A hook that another thread or another hook took off meanwhile is still called, with the output in the place of
what was given by name; without a default that call would raise in the middle of the training.
"""
