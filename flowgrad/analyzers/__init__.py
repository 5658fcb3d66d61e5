"""Analyzers look at data or at what trackers saw, and advise. Optional packages are imported where they are used."""

from flowgrad.analyzers.features import FeatureAnalyzer
from flowgrad.analyzers.proof import FeatureProof
from flowgrad.analyzers.suggesting import Suggestion
from flowgrad.analyzers.terms import Term, parse_term, term_values

__all__ = ["FeatureAnalyzer", "FeatureProof", "Suggestion", "Term", "parse_term", "term_values"]
