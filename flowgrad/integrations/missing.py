"""Says which extra brings a framework that is not installed."""

from __future__ import annotations


def missing(module: str, package: str, extra: str, error: ModuleNotFoundError) -> ImportError:
    """Make the error of an integration whose framework is not there.

    Args:
        module: the integration.
        package: name of the framework, as it is installed.
        extra: extra of flowgrad that brings it.
        error: of the import that failed.
    """
    lacking = (error.name or "").partition(".")[0]
    if lacking not in (package.replace("-", "_"), "torch"):
        return error  # the framework is there, and itself lacks something
    needed = "torch" if lacking == "torch" else package
    return ImportError(f"flowgrad.integrations.{module} needs {needed}: pip install 'flowgrad[{extra}]'")
