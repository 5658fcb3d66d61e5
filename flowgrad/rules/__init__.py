"""Rules: what a measurement means, written as data; see `RuleBook` to load and evaluate them."""

from flowgrad.rules.condition import Condition
from flowgrad.rules.expression import UnknownNameError
from flowgrad.rules.following import settled
from flowgrad.rules.rule import SEVERITIES, Candidate, Evidence, Finding, Fix, InTraining, Rule
from flowgrad.rules.rulebook import RuleBook

__all__ = [
    "SEVERITIES",
    "Candidate",
    "Condition",
    "Evidence",
    "Finding",
    "Fix",
    "InTraining",
    "Rule",
    "RuleBook",
    "UnknownNameError",
    "settled",
]
