"""Losses as people write them, right and wrong: what the audit of a loss says of each."""

import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from flowgrad.measurements import Measurements
from flowgrad.measures.loss_audit import LOSS_MEASURES, MOST_LOOKS, LossAudit
from flowgrad.measures.loss_batch import padding
from flowgrad.rules import RuleBook

BOOK = RuleBook.load()


def drawn(seed):
    return torch.Generator().manual_seed(seed)


def audit(loss_of, outputs_of, targets_of, *, looks=6, inputs_of=None, items_of=None, maximised=False):
    """Some looks at a loss; each argument is a function of a generator, the loss one of outputs and targets."""
    seen = LossAudit(maximised=maximised)
    for look in range(looks):
        g = drawn(look)
        targets = targets_of(g)
        outputs = outputs_of(g) if outputs_of.__code__.co_argcount == 1 else outputs_of(g, targets)
        inputs = None if inputs_of is None else inputs_of(targets)
        items = None if items_of is None else items_of(g)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = loss_of(outputs, targets)
        seen.see(outputs, targets, loss, inputs=inputs, items=items)
    return seen


def findings(seen):
    figures = seen.figures()
    assert set(figures) == {measure.name for measure in LOSS_MEASURES}
    return BOOK.evaluate(Measurements("batches", "net", figures, framework="torch"))


def said(seen):
    """Types of all findings of medium severity or more."""
    return [finding.type for finding in findings(seen) if finding.severity not in ("info", "low")]


def logits(columns=5, rows=48):
    return lambda g: 2 * torch.randn(rows, columns, generator=g)


def labels(columns=5, rows=48):
    return lambda g: torch.randint(columns, (rows,), generator=g)


def numbers(*shape, scale=1.0, shift=0.0):
    return lambda g: scale * torch.randn(*shape, generator=g) + shift


def bits(*shape):
    return lambda g: torch.randint(2, shape, generator=g).float()


def history(activation, outputs_of):
    """The same outputs with a graph that ends in an activation."""
    return lambda g: activation(outputs_of(g).requires_grad_())


# --- sound losses name nothing ----------------------------------------------------------------------------------------


def focal(x, t):
    nll = F.cross_entropy(x, t, reduction="none")
    return ((1 - torch.exp(-nll)) ** 2 * nll).mean()


def penalised(x, t):
    return F.mse_loss(x, t) + 1e-3 * x.square().sum()


REGRESSIONS = {
    "squared": F.mse_loss,
    "half": lambda x, t: 0.5 * F.mse_loss(x, t),
    "root": lambda x, t: F.mse_loss(x, t).sqrt(),
    "absolute": F.l1_loss,
    "huber": F.huber_loss,
    "odd_huber": lambda x, t: F.huber_loss(x, t, delta=0.37),
    "smooth": F.smooth_l1_loss,
    "log_cosh": lambda x, t: torch.log(torch.cosh(x - t)).mean(),
    "penalised": penalised,
    "clipped": lambda x, t: (x - t).square().clamp(max=1.5).mean(),
    "weighted": lambda x, t: (F.mse_loss(x, t, reduction="none") * torch.linspace(0, 2, x.numel())).mean(),
    "gaussian": lambda x, t: F.gaussian_nll_loss(x, t, torch.full_like(x, 0.3)) - 0.5,
    "cosine": lambda x, t: -F.cosine_similarity(x, t, dim=0),
}


@pytest.mark.parametrize("name", REGRESSIONS)
def test_regressions_are_sound(name):
    assert said(audit(REGRESSIONS[name], numbers(40), numbers(40, shift=2.0))) == []


CLASSES = {
    "plain": F.cross_entropy,
    "smoothed": lambda x, t: F.cross_entropy(x, t, label_smoothing=0.1),
    "oddly_smoothed": lambda x, t: F.cross_entropy(x, t, label_smoothing=0.07),
    "weighted": lambda x, t: F.cross_entropy(x, t, weight=torch.tensor([1.0, 2, 3, 1, 5])),
    "focal": focal,
    "likelihood": lambda x, t: F.nll_loss(F.log_softmax(x, 1), t),
    "divided": lambda x, t: F.cross_entropy(x, t) / 4,
    "scaled": lambda x, t: F.cross_entropy(x, t) * 1024,
    "hinge": F.multi_margin_loss,
    "brier": lambda x, t: (torch.softmax(x, 1) - F.one_hot(t, 5)).square().sum(1).mean(),
    "each_class": lambda x, t: F.binary_cross_entropy_with_logits(x, F.one_hot(t, 5).float()),
    "mixed": lambda x, t: 0.7 * F.cross_entropy(x, t) + 0.3 * F.cross_entropy(x, t.flip(0)),
    "confident": lambda x, t: F.cross_entropy(x, t) - 0.1 * torch.softmax(x, 1).max(1).values.mean(),
    "warm": lambda x, t: F.cross_entropy(x / 3.3, t),
}


@pytest.mark.parametrize("name", CLASSES)
def test_losses_of_classes_are_sound(name):
    assert findings(audit(CLASSES[name], logits(), labels())) == ()


def test_ignored_labels_are_sound():
    def some(g):
        t = labels()(g)
        return torch.where(torch.rand(48, generator=g) < 0.3, -100, t)

    seen = audit(F.cross_entropy, logits(), some)
    assert seen.figures()["loss_known"] == 1
    assert said(seen) == []


def test_soft_labels_are_sound():
    seen = audit(F.cross_entropy, logits(), lambda g: torch.softmax(logits()(g), 1))
    assert seen.figures()["loss_known"] == 1
    assert said(seen) == []


@pytest.mark.parametrize("shape", [(64,), (64, 1), (32, 6), (16, 4, 3)])
def test_binary_losses_are_sound(shape):
    for loss_of, outputs_of in (
        (F.binary_cross_entropy_with_logits, numbers(*shape)),
        (F.binary_cross_entropy, lambda g: torch.sigmoid(torch.randn(*shape, generator=g))),
        (F.binary_cross_entropy, history(torch.sigmoid, numbers(*shape))),
        (F.mse_loss, history(torch.sigmoid, numbers(*shape))),
        (lambda x, t: F.binary_cross_entropy(torch.sigmoid(x), t), numbers(*shape)),
        (lambda x, t: F.binary_cross_entropy_with_logits(x, t, pos_weight=torch.tensor(3.0)), numbers(*shape)),
    ):
        assert said(audit(loss_of, outputs_of, bits(*shape))) == []


def test_probabilities_in_their_losses_are_sound():
    probabilities = history(lambda x: torch.softmax(x, 1), logits())
    for loss_of in (lambda p, t: F.nll_loss(p.log(), t), lambda p, t: (p - F.one_hot(t, 5)).square().mean()):
        seen = audit(loss_of, probabilities, labels())
        assert seen.figures()["loss_known"] == 1
        assert said(seen) == []


def test_log_probabilities_in_cross_entropy_are_sound():
    """A second log-softmax changes nothing."""
    assert findings(audit(F.cross_entropy, lambda g: F.log_softmax(logits()(g), 1), labels())) == ()


@pytest.mark.parametrize("reduction", ["batchmean", "sum", "mean"])
def test_a_divergence_of_logarithms_is_sound(reduction):
    def loss_of(x, t):
        return F.kl_div(F.log_softmax(x / 4, 1), torch.softmax(t / 4, 1), reduction=reduction) * 16

    seen = audit(loss_of, logits(), logits())
    assert seen.figures()["loss_known"] == 1
    assert said(seen) == []


# --- shapes that broadcast --------------------------------------------------------------------------------------------

PAIRED = {
    "squared": F.mse_loss,
    "plain": lambda x, t: ((x - t) ** 2).mean(),
    "summed": lambda x, t: ((x - t) ** 2).sum(),
    "half": lambda x, t: 0.5 * F.mse_loss(x, t),
    "scaled": lambda x, t: F.mse_loss(x, t) / 8,
    "root": lambda x, t: F.mse_loss(x, t).sqrt(),
    "absolute": F.l1_loss,
    "huber": F.huber_loss,
}


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("rows", [7, 64])
def test_every_output_against_every_target(name, rows):
    for outputs, targets in (((rows, 1), (rows,)), ((rows,), (rows, 1))):
        seen = audit(PAIRED[name], numbers(*outputs), numbers(*targets, shift=1.0))
        assert said(seen) == ["LOSS_BROADCAST"]


def test_many_rows_are_told_without_a_table_of_pairs():
    for name in ("squared", "root", "absolute"):
        seen = audit(PAIRED[name], numbers(1500, 1), numbers(1500, shift=1.0))
        assert said(seen) == ["LOSS_BROADCAST"]
    seen = audit(lambda x, t: F.mse_loss(torch.sigmoid(x), t), numbers(1500, 1), bits(1500))
    assert said(seen) == ["LOSS_BROADCAST"]


@pytest.mark.parametrize("name", REGRESSIONS)
def test_shapes_that_the_loss_squeezes_are_sound(name):
    loss = REGRESSIONS[name]
    assert said(audit(lambda x, t: loss(x.squeeze(1), t), numbers(40, 1), numbers(40))) == []


def test_outputs_that_are_all_one_do_not_tell():
    """Every output against every target is then the same as each with its own."""
    seen = audit(F.mse_loss, lambda g: torch.full((40, 1), 0.3), numbers(40))
    assert math.isnan(seen.figures()["loss_of_pairs"])
    assert said(seen) == []


# --- a softmax or a sigmoid too many ----------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [2, 5, 30])
@pytest.mark.parametrize(
    "loss_of",
    [
        F.cross_entropy,
        lambda x, t: F.cross_entropy(x, t, label_smoothing=0.1),
        lambda x, t: F.cross_entropy(x, t) / 4,
        lambda x, t: F.cross_entropy(x, t, reduction="sum"),
    ],
)
def test_softmax_twice(columns, loss_of):
    for outputs_of in (
        lambda g: torch.softmax(logits(columns)(g), 1),
        history(lambda x: torch.softmax(x, 1), logits(columns)),
    ):
        assert said(audit(loss_of, outputs_of, labels(columns))) == ["PROBABILITIES_AS_LOGITS"]


def test_softmax_twice_in_the_call():
    seen = audit(lambda x, t: F.cross_entropy(torch.softmax(x, 1), t), logits(), labels())
    assert said(seen) == ["PROBABILITIES_AS_LOGITS"]


def test_softmax_twice_on_soft_labels_and_sequences():
    seen = audit(F.cross_entropy, lambda g: torch.softmax(logits()(g), 1), lambda g: torch.softmax(logits()(g), 1))
    assert said(seen) == ["PROBABILITIES_AS_LOGITS"]
    seen = audit(
        lambda x, t: F.cross_entropy(x.flatten(0, 1), t.flatten()),
        lambda g: torch.softmax(torch.randn(6, 8, 5, generator=g), -1),
        lambda g: torch.randint(5, (6, 8), generator=g),
    )
    assert said(seen) == ["PROBABILITIES_AS_LOGITS"]
    seen = audit(
        F.cross_entropy,
        lambda g: torch.softmax(torch.randn(6, 5, 8, generator=g), 1),
        lambda g: torch.randint(5, (6, 8), generator=g),
    )
    assert said(seen) == ["PROBABILITIES_AS_LOGITS"]


def test_softmax_twice_of_rows_that_are_nearly_even():
    """Shifted targets have almost the same loss then, and were taken for a sound loss that stood near."""
    seen = audit(
        lambda x, t: F.cross_entropy(x.flatten(0, 1), t.flatten(), ignore_index=0),
        lambda g: torch.softmax(0.01 * torch.randn(16, 12, 9, generator=g), -1), padded(), inputs_of=next_inputs,
    )  # fmt: skip
    assert said(seen) == ["PROBABILITIES_AS_LOGITS"]


@pytest.mark.parametrize("shape", [(64,), (64, 1), (32, 6)])
def test_sigmoid_twice(shape):
    loss_of = F.binary_cross_entropy_with_logits
    assert said(audit(loss_of, history(torch.sigmoid, numbers(*shape)), bits(*shape))) == ["PROBABILITIES_AS_LOGITS"]
    flat = history(lambda x: torch.sigmoid(x).reshape(-1), numbers(*shape))
    assert said(audit(loss_of, flat, lambda g: bits(*shape)(g).reshape(-1))) == ["PROBABILITIES_AS_LOGITS"]
    inside = audit(lambda x, t: loss_of(torch.sigmoid(x), t), numbers(*shape), bits(*shape))
    assert said(inside) == ["PROBABILITIES_AS_LOGITS"]


def test_sigmoid_twice_of_outputs_without_a_history_is_a_question():
    outputs_of = lambda g: torch.sigmoid(2 * torch.randn(64, generator=g))  # noqa: E731
    (found,) = findings(audit(F.binary_cross_entropy_with_logits, outputs_of, bits(64), looks=9))
    assert found.type == "LOGITS_WITHIN_ZERO_AND_ONE"
    assert found.candidates[0].cause == "PROBABILITIES_AS_LOGITS"


def test_logits_that_happen_to_lie_within_the_unit_are_sound():
    """A model that starts at small logits gives nothing outside 0 to 1 for a while."""
    layer = torch.nn.Linear(3, 1)
    outputs_of = lambda g: (0.05 * layer(torch.randn(64, 3, generator=g)) + 0.4).squeeze(1)  # noqa: E731
    seen = audit(F.binary_cross_entropy_with_logits, outputs_of, bits(64), looks=9)
    assert seen.figures()["outputs_activation"] == 0
    assert said(seen) == []


@pytest.mark.parametrize("cast", [torch.float32, torch.float64, torch.int32, torch.uint8])
def test_labels_that_the_loss_casts(cast):
    sound = audit(lambda x, t: F.cross_entropy(x, t.long()), logits(), lambda g: labels()(g).to(cast))
    assert sound.figures()["loss_known"] == 1
    assert said(sound) == []
    twice = audit(
        lambda x, t: F.cross_entropy(x, t.long()), lambda g: torch.softmax(logits()(g), 1),
        lambda g: labels()(g).to(cast),
    )  # fmt: skip
    assert said(twice) == ["PROBABILITIES_AS_LOGITS"]


def test_labels_of_one_and_zeros():
    """One-hot labels may be of any type."""
    for cast in (torch.float32, torch.int64, torch.bool):
        hot = lambda g: F.one_hot(labels()(g), 5).to(cast)  # noqa: B023, E731
        for outputs_of, expected in (
            (logits(), []),
            (lambda g: torch.softmax(logits()(g), 1), ["PROBABILITIES_AS_LOGITS"]),
        ):
            assert said(audit(lambda x, t: F.cross_entropy(x, t.float()), outputs_of, hot)) == expected


# --- logarithms, axes, columns ----------------------------------------------------------------------------------------


def test_likelihood_of_probabilities():
    seen = audit(lambda x, t: F.nll_loss(torch.softmax(x, 1), t), logits(), labels())
    assert said(seen) == ["PROBABILITIES_AS_LOG_PROBABILITIES"]
    seen = audit(F.nll_loss, lambda g: torch.softmax(logits()(g), 1), labels())
    assert said(seen) == ["PROBABILITIES_AS_LOG_PROBABILITIES"]


@pytest.mark.parametrize("reduction", ["batchmean", "sum", "mean"])
@pytest.mark.parametrize("heat", [1.0, 4.0])
def test_divergence_of_probabilities(reduction, heat):
    def loss_of(x, t):
        return F.kl_div(torch.softmax(x / heat, 1), torch.softmax(t / heat, 1), reduction=reduction) * heat**2

    assert said(audit(loss_of, logits(), logits())) == ["PROBABILITIES_AS_LOG_PROBABILITIES"]


@pytest.mark.parametrize("given", ["logits", "probabilities"])
def test_a_teachers_outputs_may_be_told_beside_labels(given):
    def seen_of(loss_of):
        seen = LossAudit()
        for look in range(6):
            g = drawn(look)
            x, teacher, t = logits()(g), logits()(g), labels()(g)
            if given == "probabilities":
                teacher = torch.softmax(teacher, 1)
            seen.see(x, t, loss_of(x, teacher), teacher=teacher)
        return seen

    def target(teacher):
        return teacher if given == "probabilities" else torch.softmax(teacher / 2, 1)

    heat = 1 if given == "probabilities" else 2
    wrong = seen_of(lambda x, t: F.kl_div(torch.softmax(x / heat, 1), target(t), reduction="batchmean") * heat**2)
    assert said(wrong) == ["PROBABILITIES_AS_LOG_PROBABILITIES"]
    right = seen_of(lambda x, t: F.kl_div(F.log_softmax(x / heat, 1), target(t), reduction="batchmean"))
    assert right.figures()["loss_known"] == 1
    assert said(right) == []


def test_axes_that_both_were_given_are_meant():
    """Who adds an axis to outputs and to targets compares all with all on purpose."""
    pairwise = lambda x, t: (x - t).abs().mean()  # noqa: E731
    assert said(audit(pairwise, numbers(20, 1), numbers(1, 20))) == []
    assert said(audit(pairwise, numbers(6, 5, 1), numbers(6, 1, 5))) == []


def test_likelihood_of_logits():
    assert said(audit(F.nll_loss, logits(), labels())) == ["LOGITS_AS_LOG_PROBABILITIES"]


def test_softmax_over_the_rows():
    seen = audit(lambda x, t: F.nll_loss(F.log_softmax(x, 0), t), logits(), labels())
    assert said(seen) == ["SOFTMAX_OVER_THE_BATCH"]


def test_softmax_over_one_column():
    seen = audit(F.cross_entropy, numbers(32, 1), bits(32, 1))
    (found,) = findings(seen)
    assert (found.type, found.candidates[0].cause) == ("LOSS_OF_ZERO", "SOFTMAX_OVER_ONE_COLUMN")
    seen = audit(F.cross_entropy, numbers(32, 1), lambda g: torch.zeros(32, dtype=torch.int64))
    assert "LOSS_OF_ZERO" in said(seen)


@pytest.mark.parametrize("targets_of", [lambda g: 2 * bits(64)(g) - 1, lambda g: bits(64)(g) + 1])
def test_targets_outside_of_a_binary_loss(targets_of):
    assert said(audit(F.binary_cross_entropy_with_logits, numbers(64), targets_of)) == ["TARGETS_OUTSIDE_THE_LOSS"]
    assert said(audit(F.soft_margin_loss, numbers(64), lambda g: 2 * bits(64)(g) - 1)) == []


# --- signs and sums ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss_of", "outputs_of", "targets_of"),
    [
        (F.mse_loss, numbers(40), numbers(40)),
        (F.l1_loss, numbers(40), numbers(40)),
        (F.cross_entropy, logits(), labels()),
        (lambda x, t: F.cross_entropy(x, t) / 4, logits(), labels()),
        (lambda x, t: F.cross_entropy(x, t, reduction="sum"), logits(), labels()),
        (F.binary_cross_entropy_with_logits, numbers(64), bits(64)),
    ],
)
def test_minus_a_loss(loss_of, outputs_of, targets_of):
    worse = lambda g: outputs_of(g) * (1 + g.initial_seed())  # noqa: E731
    flipped = lambda x, t: -loss_of(x, t)  # noqa: E731
    assert said(audit(flipped, worse, targets_of)) == ["LOSS_SIGN_FLIPPED"]
    assert said(audit(flipped, worse, targets_of, maximised=True)) == []
    assert said(audit(loss_of, worse, targets_of)) == []
    assert said(audit(loss_of, worse, targets_of, maximised=True)) == ["LOSS_SIGN_FLIPPED"]


def test_minus_a_loss_that_hovers_is_a_question():
    """An adversary's loss is minus another's, and does not run away."""
    (found,) = findings(audit(lambda x, t: -F.cross_entropy(x, t), logits(rows=400), labels(rows=400)))
    assert found.type == "LOSS_IS_MINUS_ANOTHER"
    assert [candidate.cause for candidate in found.candidates] == ["LOSS_SIGN_FLIPPED", "MAXIMISED_ON_PURPOSE"]


def test_minus_a_loss_that_is_not_known_is_a_question():
    """Weights are not known to the audit; that errors grow as the loss falls is."""
    weight = torch.tensor([1.0, 2, 3, 1, 5])
    worse = lambda g: logits()(g) * (1 + g.initial_seed())  # noqa: E731
    better = lambda g: logits()(g) / (1 + g.initial_seed())  # noqa: E731
    flipped = lambda x, t: -F.cross_entropy(x, t, weight=weight)  # noqa: E731
    (found,) = findings(audit(flipped, worse, labels(), looks=12))
    assert (found.type, found.candidates[0].cause) == ("LOSS_FALLS_AS_ERRORS_GROW", "LOSS_SIGN_FLIPPED")
    assert findings(audit(flipped, better, labels(), looks=12)) == ()
    lowered = lambda x, t: F.cross_entropy(x, t, weight=weight) - 100  # noqa: E731
    assert findings(audit(lowered, worse, labels(), looks=12)) == ()


def test_an_adversary_of_one_label_is_sound():
    """The generator of Goodfellow et al. makes the loss of `made` as large as it can."""
    loss_of = lambda x, t: -F.binary_cross_entropy_with_logits(x, torch.zeros_like(x))  # noqa: E731
    assert said(audit(loss_of, numbers(64), lambda g: torch.zeros(64))) == []


@pytest.mark.parametrize(
    ("loss_of", "outputs_of", "targets_of", "terms"),
    [
        (lambda x, t: F.mse_loss(x, t, reduction="sum"), numbers(40), numbers(40), 40),
        (lambda x, t: F.cross_entropy(x, t) * len(x), logits(), labels(), 48),
        (lambda x, t: F.cross_entropy(x, t, reduction="sum"), logits(), labels(), 48),
        (lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction="sum"), numbers(9, 5), bits(9, 5), 45),
    ],
)
def test_a_sum_is_a_question_that_says_how_many(loss_of, outputs_of, targets_of, terms):
    (found,) = findings(audit(loss_of, outputs_of, targets_of))
    assert (found.type, found.severity) == ("LOSS_SUMMED", "low")
    assert f"sum of {terms} terms" in found.premise
    assert found.candidates
    assert found.fix is None


# --- sequences --------------------------------------------------------------------------------------------------------


def padded(rows=16, length=12, classes=9, number=0, left=False):
    """Class numbers of rows of different length, filled up."""

    def make(g):
        t = torch.randint(1, classes - 1, (rows, length), generator=g)
        lengths = torch.randint(2, length, (rows, 1), generator=g)
        at = torch.arange(length)
        return torch.where(at >= length - lengths if left else at < lengths, t, number)

    return make


def tokens(rows=16, length=12, classes=9):
    return lambda g: torch.randn(rows, length, classes, generator=g)


def over_all(x, t):
    return F.cross_entropy(x.reshape(-1, x.shape[-1]), t.reshape(-1))


def next_inputs(t):
    """Inputs whose targets are one step ahead."""
    return torch.cat([torch.full_like(t[:, :1], 5), t[:, :-1]], 1)


@pytest.mark.parametrize("number", [0, 8])
@pytest.mark.parametrize("left", [False, True])
def test_padding_that_is_counted(number, left):
    make = padded(number=number, left=left)
    for loss_of in (over_all, lambda x, t: over_all(x, t) / 4):
        seen = audit(loss_of, tokens(), make, inputs_of=lambda t: t)
        assert "PADDING_IN_THE_LOSS" in said(seen)
        assert seen.figures()["padding_id"] == number
    (found,) = findings(audit(over_all, tokens(), make))
    assert (found.type, found.candidates[0].cause) == ("ONE_TARGET_FILLS_THE_ENDS", "PADDING_IN_THE_LOSS")
    left_out = audit(
        lambda x, t: F.cross_entropy(x.flatten(0, 1), t.flatten(), ignore_index=number), tokens(), make,
        inputs_of=next_inputs,
    )  # fmt: skip
    assert left_out.figures()["loss_known"] == 1
    assert said(left_out) == []


def test_padding_that_a_mask_takes_out_is_sound():
    def masked(x, t):
        each = F.cross_entropy(x.flatten(0, 1), t.flatten(), reduction="none")
        return (each * (t.flatten() != 0)).sum() / (t != 0).sum()

    assert said(audit(masked, tokens(), padded(), inputs_of=next_inputs)) == []
    mean = audit(
        lambda x, t: (F.cross_entropy(x.flatten(0, 1), t.flatten(), reduction="none") * (t.flatten() != 0)).mean(),
        tokens(), padded(), inputs_of=next_inputs,
    )  # fmt: skip
    assert said(mean) == []


def test_padding_of_flattened_targets_is_found_by_where_rows_begin():
    seen = audit(
        F.cross_entropy, lambda g: tokens()(g).flatten(0, 1), lambda g: padded()(g).flatten(),
        inputs_of=lambda t: next_inputs(t.reshape(16, 12)),
    )  # fmt: skip
    assert "PADDING_IN_THE_LOSS" in said(seen)
    assert "ONE_TARGET_FILLS_THE_ENDS" in said(audit(
        F.cross_entropy, lambda g: tokens()(g).flatten(0, 1), lambda g: padded()(g).flatten()
    ))  # fmt: skip


def test_a_class_that_stands_anywhere_is_no_padding():
    """Most words have no tag, in the middle of a row as at its end."""

    def tags(g):
        return torch.where(torch.rand(16, 12, generator=g) < 0.7, 0, torch.randint(1, 9, (16, 12), generator=g))

    seen = audit(over_all, tokens(), tags, inputs_of=next_inputs)
    assert math.isnan(seen.figures()["padding_counted"])
    assert said(seen) == []


def test_rows_that_end_in_a_mark_are_not_padded():
    t = np.random.default_rng(0).integers(1, 9, (16, 12))
    t[:, -1] = 0
    assert padding(t, None) is None


def test_targets_that_are_the_inputs():
    make = lambda g: torch.randint(9, (16, 12), generator=g)  # noqa: E731
    (found,) = findings(audit(over_all, tokens(), make, inputs_of=lambda t: t))
    assert (found.type, found.candidates[0].cause) == ("TARGETS_ARE_THE_INPUTS", "TARGETS_NOT_SHIFTED")
    assert findings(audit(over_all, tokens(), make, inputs_of=next_inputs)) == ()


def test_a_loss_that_shifts_by_itself_is_sound():
    """Libraries take the inputs as labels and shift them in the loss."""
    make = lambda g: torch.randint(9, (16, 12), generator=g)  # noqa: E731
    seen = audit(lambda x, t: over_all(x[:, :-1], t[:, 1:]), tokens(), make, inputs_of=lambda t: t)
    assert seen.figures()["loss_known"] == 1
    assert findings(seen) == ()


def test_masked_inputs_are_sound():
    make = lambda g: torch.randint(1, 9, (16, 12), generator=g)  # noqa: E731
    hidden = lambda t: torch.where(torch.rand(t.shape, generator=drawn(7)) < 0.15, 0, t)  # noqa: E731
    assert said(audit(over_all, tokens(), make, inputs_of=hidden)) == []


# --- negatives of the batch -------------------------------------------------------------------------------------------


def popular(g):
    """Items of 64 rows, drawn by their popularity among 200."""
    return torch.multinomial(1 / torch.arange(1.0, 201), 64, replacement=True, generator=g)


@pytest.mark.parametrize("targets_of", [lambda g: None, lambda g: torch.arange(64)])
def test_popularity_that_is_not_corrected(targets_of):
    plain = lambda x, t: F.cross_entropy(x, torch.arange(64))  # noqa: E731
    scores = logits(64, 64)
    found, repeated = findings(audit(plain, scores, targets_of, items_of=popular))
    assert (found.type, found.candidates[0].cause) == ("POPULARITY_NOT_CORRECTED",) * 2
    assert (repeated.type, repeated.candidates[0].cause) == ("POSITIVES_AMONG_NEGATIVES",) * 2
    assert findings(audit(plain, scores, targets_of)) == ()
    evenly = lambda g: torch.randint(200, (64,), generator=g)  # noqa: E731
    assert findings(audit(plain, scores, targets_of, items_of=evenly)) == ()
    corrected = lambda x, t: F.cross_entropy(x - torch.linspace(-4, 0, 64), torch.arange(64))  # noqa: E731
    assert findings(audit(corrected, scores, targets_of, items_of=popular)) == ()
    both = lambda x, t: (plain(x, t) + plain(x.T, t)) / 2  # noqa: E731
    seen = audit(both, scores, targets_of)
    assert seen.figures()["in_batch_softmax"] == 1
    assert findings(seen) == ()


def test_items_that_many_rows_of_a_batch_share_are_their_own_negatives():
    """They are drawn alike, so that nothing is popular, and each is taught to be wrong for its own rows."""
    plain = lambda x, t: F.cross_entropy(x, torch.arange(64))  # noqa: E731
    few = lambda g: torch.randint(20, (64,), generator=g)  # noqa: E731
    (found,) = findings(audit(plain, logits(64, 64), lambda g: None, items_of=few))
    assert (found.type, found.severity, found.fix) == ("POSITIVES_AMONG_NEGATIVES", "low", None)


def in_batch(corrected=False, masked=False, learned=0.0):
    """Looks at a softmax over the batch, of scores that know as much of an item as `learned`."""
    seen, g, share = LossAudit(), drawn(3), 1 / torch.arange(1.0, 201)
    share = share / share.sum()
    for _ in range(10):
        items = torch.multinomial(share, 128, replacement=True, generator=g)
        scores = torch.randn(128, 8, generator=g) @ torch.randn(200, 8, generator=drawn(5)).T
        scores = (scores + learned * share.log())[:, items]
        scores = scores - share.log()[items] if corrected else scores
        again = (items[:, None] == items) & ~torch.eye(128, dtype=torch.bool)
        scores = scores.masked_fill(again, -torch.inf if masked == "inf" else -1e9) if masked else scores
        seen.see(scores, torch.arange(128), F.cross_entropy(scores, torch.arange(128)), items=items)
    return {finding.type for finding in findings(seen)}


def test_outputs_that_were_corrected_and_masked_before_are_let_alone():
    """Scores with log q taken off and equal items masked, told as the loss had them, were accused of lacking both."""
    assert in_batch() == {"POPULARITY_NOT_CORRECTED", "POSITIVES_AMONG_NEGATIVES"}
    assert in_batch(masked=True) == {"POPULARITY_NOT_CORRECTED"}
    assert in_batch(corrected=True) == {"POSITIVES_AMONG_NEGATIVES"}
    assert in_batch(corrected=True, masked=True) == in_batch(corrected=True, masked="inf") == set()
    assert "POPULARITY_NOT_CORRECTED" in in_batch(learned=0.5)


@pytest.mark.parametrize(("scale", "found"), [(1.0, ["LOGITS_ARE_COSINES"]), (20.0, [])])
def test_cosines_without_a_scale_are_a_question(scale, found):
    """In sentence-transformers, CLIP and two towers: products of unit vectors went into a softmax as they were."""

    def outputs(g, targets):
        rows = torch.nn.functional.normalize(torch.randn(64, 8, generator=g), dim=1)
        return scale * torch.nn.functional.normalize(rows + 0.1, dim=1) @ rows.T

    plain = lambda x, t: F.cross_entropy(x, torch.arange(64))  # noqa: E731
    assert said(audit(plain, outputs, lambda g: torch.arange(64), looks=8)) == found


@pytest.mark.parametrize(("power", "found"), [(1, ["CLASS_WEIGHTS_RISE_WITH_FREQUENCY"]), (-1, []), (0, [])])
def test_weights_that_rise_with_the_frequency_of_classes_are_a_question(power, found):
    """The number of rows by class was given for its inverse, and rare classes were never predicted."""
    odds = torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03])
    often = lambda g: torch.multinomial(odds, 64, replacement=True, generator=g)  # noqa: E731
    loss = lambda x, t: F.cross_entropy(x, t, weight=odds**power)  # noqa: E731
    seen = audit(loss, logits(5, 64), often, looks=12)
    assert said(seen) == found
    if power:
        assert seen.figures()["class_weights_cosine"] == pytest.approx(power, abs=0.05)
        assert seen.figures()["class_weights_span"] == pytest.approx(0.5 / 0.03, rel=0.05)


def test_weights_of_rows_are_no_weights_of_classes():
    loss = lambda x, t: (F.cross_entropy(x, t, reduction="none") * x[:, 0].abs().detach()).mean()  # noqa: E731
    seen = audit(loss, logits(5, 64), labels(5, 64), looks=12)
    assert math.isnan(seen.figures()["class_weights_cosine"])


@pytest.mark.parametrize(
    ("end", "found"),
    [
        (F.relu, ["OUTPUTS_STOP_SHORT_OF_TARGETS"]),
        (torch.sigmoid, ["OUTPUTS_STOP_SHORT_OF_TARGETS"]),
        (lambda x: x, []),
    ],
)
def test_outputs_that_stop_short_of_standardised_targets(end, found):
    plain = torch.nn.Linear(1, 64)  # outputs with a history
    outputs = lambda g: end(plain(torch.ones(1)) + torch.randn(64, generator=g))  # noqa: E731
    seen = audit(F.mse_loss, outputs, lambda g: torch.randn(64, generator=g))
    assert said(seen) == found


def test_outputs_that_reach_their_floor_after_some_looks_alone_stop_short_too():
    """Nothing was said of outputs that were all above 0 at one of the looks."""
    early = iter([2.0, 1.5])
    outputs = lambda g: F.relu(torch.randn(64, generator=g) + next(early, 0.0))  # noqa: E731
    targets = lambda g: torch.randn(64, generator=g)  # noqa: E731
    assert said(audit(F.mse_loss, outputs, targets)) == ["OUTPUTS_STOP_SHORT_OF_TARGETS"]
    assert said(audit(F.mse_loss, lambda g: F.softplus(torch.randn(64, generator=g)), targets)) == []


def test_outputs_that_end_in_a_relu_are_sound_for_amounts():
    amounts = lambda g: torch.randint(0, 9, (64,), generator=g).float()  # noqa: E731
    assert said(audit(F.mse_loss, lambda g: F.relu(3 * torch.randn(64, generator=g)), amounts)) == []


@pytest.mark.parametrize(("end", "found"), [(F.relu, ["LOGITS_CUT_OFF_AT_ZERO"]), (F.softplus, []), (F.gelu, [])])
def test_logits_that_a_relu_cuts_off_are_a_question(end, found):
    seen = audit(F.cross_entropy, lambda g: end(logits(10, 64)(g)), labels(10, 64))
    assert [one.type for one in findings(seen)] == found


# --- labels -----------------------------------------------------------------------------------------------------------


def test_labels_that_are_all_one_are_a_question():
    (found,) = findings(audit(F.cross_entropy, logits(rows=100), lambda g: torch.full((100,), 3)))
    assert (found.type, found.severity) == ("LABELS_ALL_ALIKE", "low")


def test_amounts_are_no_labels():
    """Amounts in order begin with batches of ones alone."""
    seen = LossAudit()
    for look in range(12):
        x, t = numbers(64)(drawn(look)), torch.full((64,), 1.0 + look // 8)
        seen.see(x, t, F.mse_loss(x, t))
    assert math.isnan(seen.figures()["targets_kinds"])
    assert findings(seen) == ()


def test_labels_that_count_from_one():
    ones = lambda g: torch.randint(1, 6, (200,), generator=g)  # noqa: E731
    (found,) = findings(audit(F.cross_entropy, logits(6, 200), ones))
    assert (found.type, found.severity) == ("LABELS_COUNT_FROM_ONE", "low")
    assert findings(audit(F.cross_entropy, logits(6, 200), labels(6, 200))) == ()


# --- what cannot be read ----------------------------------------------------------------------------------------------

ODD = {
    "nothing": (None, None, None),
    "text": ("outputs", "targets", "loss"),
    "a pair": ((torch.zeros(3), torch.zeros(3)), torch.zeros(3), 0.0),
    "not finite": (torch.full((4, 2), math.nan), torch.zeros(4), 1.0),
    "loss not finite": (torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64), math.inf),
    "complex": (torch.zeros(4, dtype=torch.complex64), torch.zeros(4), 1.0),
    "empty": (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), 0.0),
    "too large": (torch.zeros(1).expand(3000, 1000), torch.zeros(1).expand(3000, 1000), 1.0),
    "far too large": (torch.zeros(1).expand(300_000, 1000), torch.zeros(300_000, dtype=torch.int64), 1.0),
    "half": (torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64), torch.tensor(0.7, dtype=torch.bfloat16)),
    "several losses": (torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64), torch.zeros(4)),
    "sparse": (torch.eye(3).to_sparse(), torch.zeros(3, dtype=torch.int64), 1.0),
    "meta": (torch.zeros(3, 2, device="meta"), torch.zeros(3, dtype=torch.int64), 1.0),
    "targets as a mapping": (torch.zeros(3, 2), {"boxes": torch.zeros(3)}, 1.0),
    "integers": (torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), 1.0),
}


@pytest.mark.parametrize("name", ODD)
def test_what_cannot_be_read_is_counted_and_raises_nothing(name):
    seen = LossAudit()
    for _ in range(4):
        assert seen.see(*ODD[name]) is False
    figures = seen.figures()
    assert (figures["loss_unread"], figures["loss_looks"]) == (4, 0)
    assert math.isnan(figures["loss_known"])
    assert findings(seen) == ()


def test_before_the_first_look_nothing_is_known():
    assert findings(LossAudit()) == ()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(1, 5), max_size=3), st.lists(st.integers(1, 5), max_size=3), st.booleans(),
    st.floats(-5, 5), st.integers(0, 9),
)  # fmt: skip
def test_shapes_of_all_kinds_raise_nothing_and_name_nothing(outputs, targets, whole, loss, seed):
    """A loss that has nothing to do with what is given is none of the known ones."""
    seen = LossAudit()
    for look in range(4):
        g = drawn(seed * 10 + look)
        t = torch.randint(4, tuple(targets), generator=g)
        seen.see(torch.randn(outputs, generator=g), t if whole else t.float(), loss + 0.1234567 * look)
    assert said(seen) == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 40), st.integers(2, 12), st.floats(0.01, 30), st.integers(0, 50))
def test_cross_entropy_is_told_from_its_mistakes_at_any_scale(rows, columns, scale, seed):
    """As many rows as columns may be a batch whose negatives are its own rows."""
    assume(rows != columns)
    seen = {name: LossAudit() for name in ("sound", "twice")}
    for look in range(4):
        g = drawn(seed * 10 + look)
        x, t = scale * torch.randn(rows, columns, generator=g), torch.randint(columns, (rows,), generator=g)
        seen["sound"].see(x, t, F.cross_entropy(x, t))
        p = torch.softmax(x, 1)
        seen["twice"].see(p, t, F.cross_entropy(p, t))
    assert said(seen["sound"]) == []
    assert said(seen["twice"]) == ["PROBABILITIES_AS_LOGITS"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 60), st.floats(0.001, 1000), st.floats(-1000, 1000), st.integers(0, 50))
def test_pairs_are_told_from_rows_at_any_scale(rows, scale, shift, seed):
    seen = {name: LossAudit() for name in ("sound", "pairs")}
    for look in range(4):
        g = drawn(seed * 10 + look)
        x, t = (scale * torch.randn(rows, generator=g) + shift for _ in range(2))
        seen["sound"].see(x[:, None], t, F.mse_loss(x, t))
        seen["pairs"].see(x[:, None], t, ((x[:, None] - t) ** 2).mean())
    assert said(seen["sound"]) == []
    assert set(said(seen["pairs"])) <= {"LOSS_BROADCAST"}


# --- state and cost ---------------------------------------------------------------------------------------------------


def test_state_goes_on_where_it_was():
    first = audit(PAIRED["squared"], numbers(20, 1), numbers(20))
    second = LossAudit()
    second.load_state_dict(first.state_dict())
    np.testing.assert_equal(second.figures(), first.figures())
    for seen in (first, second):
        seen.see(torch.zeros(20, 1), torch.ones(20), 1.0)
    np.testing.assert_equal(second.figures(), first.figures())


def test_looks_are_bounded_and_the_first_and_last_are_kept():
    seen = audit(F.mse_loss, numbers(8), numbers(8), looks=3 * MOST_LOOKS)
    assert len(seen.looks) <= MOST_LOOKS
    alone = audit(F.mse_loss, numbers(8), numbers(8), looks=1)
    assert seen.looks[0]["told"] == alone.looks[0]["told"]
    assert seen.figures()["loss_known"] == 1


def test_looking_changes_nothing():
    """Outputs, gradients and the state of the generator are as they were."""
    x, t = torch.randn(8, 3).requires_grad_(), torch.randint(3, (8,))
    state, given = torch.get_rng_state(), (x.detach().clone(), t.clone())
    loss = F.cross_entropy(x, t)
    LossAudit().see(x, t, loss, inputs=t, items=t)
    loss.backward()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x.detach(), given[0])
    assert torch.equal(t, given[1])
    assert x.grad is not None
