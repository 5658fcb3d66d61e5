"""x"""
from hydra.experimental.callback import Callback



class SweepTable(Callback):
    """One table over the jobs of a sweep."""
