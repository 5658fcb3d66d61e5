"""Does something as soon as a script has imported a package, and not before: the script may set it up first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class AfterImport:
    """A finder that finds nothing by itself, and calls a function once a package was imported whole."""

    def __init__(self, package: str, then: Callable[[], None]) -> None:
        self._package, self._then = package, then

    def start(self) -> None:
        """Wait for the import; where the package is there already, call the function now."""
        if self._package in sys.modules:
            self._then()
        else:
            sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Wait no longer."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the other finders find, with a loader that calls the function at its end."""
        if name != self._package:
            return None
        self.stop()
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((one for one in found if one is not None), None)
        loader: Any = None if spec is None else spec.loader
        if loader is not None and hasattr(loader, "exec_module"):
            load = loader.exec_module

            def load_and_call(module: ModuleType) -> None:
                vars(loader).pop("exec_module", None)
                load(module)
                self._then()

            loader.exec_module = load_and_call
        return spec
