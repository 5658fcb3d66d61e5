"""Looks at what a ranking model recommends, and at the vectors it does so by."""

from flowgrad.ranking.analyzer import RankingAnalyzer

__all__ = ["RankingAnalyzer"]
