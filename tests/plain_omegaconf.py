"""Takes out of OmegaConf what it does over and over to no effect, a fifth of the time of composing a config: functions
that import names each time they are called, and checks of types that ask the registry of abstract classes.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from abc import ABCMeta
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import omegaconf


class _Plain(ABCMeta):
    """A metaclass whose classes have no subclasses but their own, which OmegaConf's have not either."""

    __instancecheck__ = type.__instancecheck__
    __subclasscheck__ = type.__subclasscheck__


class _Imports(ast.NodeTransformer):
    """Takes imports out of functions, and keeps them in `found`."""

    def __init__(self) -> None:
        self.found: list[ast.ImportFrom] = []
        self._depth = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if not self._depth:
            return node
        self.found.append(node)
        return ast.copy_location(ast.Pass(), node)


def make_plain(patch: Any) -> None:
    """Change OmegaConf's classes and functions so, by patches of pytest's."""
    for name in ("base", "basecontainer", "dictconfig", "listconfig", "nodes", "omegaconf", "_utils"):
        module = importlib.import_module(f"{omegaconf.__name__}.{name}")
        for kind in vars(module).values():
            if type(kind) is ABCMeta and kind.__module__ == module.__name__:
                kind.__class__ = _Plain  # for good: pytest cannot undo it
        _import_once(module, patch)


def _import_once(module: ModuleType, patch: Any) -> None:
    """Let functions of the module find in it what they import."""
    imports = _Imports()
    tree = ast.fix_missing_locations(imports.visit(ast.parse(inspect.getsource(module))))
    for node in imports.found:
        source = importlib.import_module("." * node.level + (node.module or ""), module.__package__)
        for alias in node.names:
            known = vars(module).get(alias.name, imports)
            if alias.asname or known not in (imports, getattr(source, alias.name)):
                raise ValueError(f"{module.__name__}: {alias.name} is imported under two meanings")
            patch.setattr(module, alias.name, getattr(source, alias.name), raising=False)
    made = dict(_codes(compile(tree, str(module.__file__), "exec", dont_inherit=True)))
    for function in _functions(module):
        code = made.get(_place(function.__code__))
        if code is not None and code.co_freevars == function.__code__.co_freevars:
            patch.setattr(function, "__code__", code)


def _place(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


def _codes(code: CodeType) -> Iterator[tuple[tuple[str, int], CodeType]]:
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield _place(part), part
            yield from _codes(part)


def _functions(place: Any) -> Iterator[FunctionType]:
    """The functions of a module and of the classes that it defines."""
    module = place.__name__ if isinstance(place, ModuleType) else place.__module__
    for value in list(vars(place).values()):
        if isinstance(value, type) and value.__module__ == module:
            yield from _functions(value)
        for part in (value.fget, value.fset) if isinstance(value, property) else (getattr(value, "__func__", value),):
            function = inspect.unwrap(part) if callable(part) else part
            if isinstance(function, FunctionType) and function.__module__ == module:
                yield function
