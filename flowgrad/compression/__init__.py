"""Compression of models: recipes, their application, and a packed file of the result. It needs torch."""

from flowgrad.compression.applying import Compressed, apply_recipe, make_permanent
from flowgrad.compression.measuring import latency, saved_size
from flowgrad.compression.plans import LayerBits, LayerMask, PruningPlan, QuantizationPlan, RowPlan, TableRows
from flowgrad.compression.recipe import Recipe
from flowgrad.compression.storage import read_packed, write_packed

__all__ = [
    "Compressed",
    "LayerBits",
    "LayerMask",
    "PruningPlan",
    "QuantizationPlan",
    "Recipe",
    "RowPlan",
    "TableRows",
    "apply_recipe",
    "latency",
    "make_permanent",
    "read_packed",
    "saved_size",
    "write_packed",
]
