"""Analyzers look at data or at what trackers saw, and advise. Optional packages are imported where they are used."""

from flowgrad.features.analyzer import FeatureAnalyzer
from flowgrad.features.clicks import ClickAnalyzer
from flowgrad.features.proof import FeatureProof
from flowgrad.features.suggesting import Suggestion
from flowgrad.features.terms import Term, parse_term, term_values

__all__ = ["ClickAnalyzer", "FeatureAnalyzer", "FeatureProof", "Suggestion", "Term", "parse_term", "term_values"]
