"""Keeps pytest from looking for doctests in modules of an extra that is not installed, or that are long to import, and
in scripts, which train when they are imported.
"""

from importlib.util import find_spec

collect_ignore = [] if find_spec("catboost") else ["flowgrad/trackers/boosting/catboost_callback.py"]
collect_ignore += ["flowgrad/integrations/lightning.py", "flowgrad/integrations/transformers.py"]
collect_ignore += [] if find_spec("mcp") else ["flowgrad/agents/serving.py"]
collect_ignore += ["tests/integrations/lightning_loops.py", "tests/integrations/transformers_loops.py"]
collect_ignore += ["tests/watching/scripts"]
