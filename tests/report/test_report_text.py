import math
from dataclasses import replace

import pytest

from flowgrad.evidence.confidence import Confidence
from flowgrad.report import Override, OverrideAblation, Report, to_text
from flowgrad.report.text import ablation_words, to_words

EXPECTED = """\
Embedding report: item_emb
Run movielens_mf-3f2a9c, arm baseline, round 1, seed 0

[critical] LOSS_ABOVE_VARIANCE (rule loss_above_variance)
  Premise          The loss is above the variance of the targets.
  Implies          The mean predicts better.
  Action           LOOK
  Expected effect  The loss falls.
  Confidence       0.50 (prior: no validated run behind it)

[high] ZOMBIE_EMBEDDINGS (rule zombie_rows)
  Premise          83.0% of rows move at 0.21 per step while their displacements oppose each other.
  Implies          The learning rate is too high for these rows; conflicting gradients pull them
                   back & forth.
  Action           DECREASE_LEARNING_RATE
  Expected effect  Rows settle; held-out error falls.
  Risk             Slower early progress; allow more epochs.
  Confidence       0.94 (measured: 38 of 40 confirmed, 95% interval 0.84 to 0.99)
  Fix              optimizer.lr: 0.05 -> 0.005
  Fix              training.epochs: times 2
  Rows             1390: 242, 17, ... (all in rows_item_emb.csv)
  Validation       confirmed: mse 1.884 -> 1.11 on 10 pairs (seed), difference -0.774, 95% interval
                   -0.81 to -0.74, paired_t p = 2e-10, adjusted 6e-10 for rounds of this run

Measurements
  zombie_share     0.83  share
  median_velocity  -inf  norm
  dead_share        nan
"""


def test_findings_worst_first(full):
    assert to_text(full) == EXPECTED


def test_healthy(healthy):
    assert to_text(healthy) == "Embedding report: user_emb\n\nNo findings.\n\nMeasurements\n  zombie_share  0  share\n"
    assert to_text(Report("flow", "l")) == "Flow report: l\n\nNo findings.\n"


def test_composite(composite):
    text = to_text(composite)
    assert text.startswith("Run movielens_mf-3f2a9c, arm baseline, round 1, seed 0\n\nEmbedding report: item_emb\n\n")
    assert "\n\nEmbedding report: user_emb\n\nNo findings.\n" in text
    assert "\n\nTraining report: run\n\n[critical]" in text


def test_no_terminal_control(full, zombie):
    text = to_text(replace(full, layer="a\x1b[2J\x9b\nb", findings=(replace(zombie, premise="\x1b]0;x\x07"),)))
    assert not set(text) & set("\x1b\x9b\x07")
    assert text.splitlines()[0].endswith("b")


def test_fix_without_a_known_value(full, zombie):
    found = replace(zombie, fix=(Override("a.b"), Override("a.c", "1")))
    text = to_text(replace(full, findings=(found,)))
    assert "Fix              a.b: value not known\n  Fix              a.c: -> 1\n" in text


def test_what_an_override_is_worth_is_told_with_the_fix_and_the_expected_effect(distillation):
    text = " ".join(to_text(distillation).split())
    assert "Earned its place: model.widened_layers.student in 2 of 3 runs." in text
    assert "kept: without it validation kl is worse, 98.0% [89.0%, 108.0%] of the gain is lost (5 seeds)" in text
    assert "training.epochs: 30 -> 60; dropped: without it validation kl is the same by the paired test, -0.3%" in text


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (None, ""),
        (OverrideAblation("kept", because="without it the config is refused: no"), "kept: without it the config is"),
        (OverrideAblation("kept", share=math.inf, metric="mse"), "kept: without it mse is not finite on every seed"),
        (OverrideAblation("kept", metric="auc", n=3, loss=-0.1, share=-0.2), "validation auc is better, -20.0% of the"),
    ],
)
def test_words_on_an_override(found, told):
    assert told in ablation_words(found)
    assert bool(told) == bool(ablation_words(found))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (Confidence(0.5, "prior", 0, 0, 0.1, 0.9), "0.50 (prior: no validated run behind it)"),
        (
            Confidence(0.8, "prior", 0, 0, 0.4, 1.0, 0, 4.0, 1.0),
            "0.80 (prior: by fixes of other rules, no validated run of its own, 95% interval 0.40 to 1.00)",
        ),
        (
            Confidence(0.8, "measured", 2, 2, 0.4, 1.0, tried_on="A on x: 2", near="model"),
            "0.80 (measured: 2 of 2 confirmed, 95% interval 0.40 to 1.00; A on x: 2; tried with this model, on other "
            "data)",
        ),
    ],
)
def test_words_on_a_confidence(told, words):
    assert to_words(told) == words
