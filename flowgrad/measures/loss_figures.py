"""Declares the figures of an audited loss, as rules may name them."""

from __future__ import annotations

from flowgrad.measurements import Measure
from flowgrad.measures.blanks import BLANK_MEASURES
from flowgrad.measures.left_out import LEFT_OUT_MEASURES
from flowgrad.measures.sequences import PLACE_MEASURES
from flowgrad.measures.telling import TELLING_MEASURES

LOSS_MEASURES = (
    Measure("loss_looks", "count", "Steps at which the loss was recomputed from outputs and targets."),
    Measure(
        "loss_unread",
        "count",
        "Steps at which it was not: outputs, targets or loss were too large, of half precision, not finite, or of a "
        "kind that is not known.",
    ),
    Measure(
        "loss_known",
        "share",
        "Share of the looks at which some recomputed loss, right or wrong, is the one that was told. A loss with "
        "weights, penalties or several terms is none of them.",
    ),
    Measure("loss_factor", "ratio", "Constant that the told loss is multiplied by; 1 where it is told as it is."),
    Measure(
        "loss_of_pairs",
        "share",
        "Share of the looks at which the loss is that of every output with every target, and not that of each output "
        "with its own. Not known where shapes do not broadcast, or both are the same number.",
    ),
    Measure("loss_outputs_column", "flag", "1 where it is the outputs that have a further axis, 0 where the targets."),
    Measure("loss_rows", "count", "Examples of a batch, the median of the looks."),
    Measure(
        "softmax_twice",
        "share",
        "Share of the looks at which the loss is a cross-entropy of probabilities that it takes for logits.",
    ),
    Measure(
        "sigmoid_twice",
        "share",
        "Share of the looks at which the loss is a binary cross-entropy of outputs that it takes for logits, while no "
        "output of any look lies outside [0, 1]; or that of a sigmoid of the outputs.",
    ),
    Measure(
        "outputs_activation",
        "flag",
        "1 where the last operation on the outputs is a sigmoid or a softmax, 0 where it is another; not known where "
        "outputs came without a history.",
    ),
    Measure("outputs_history", "flag", "1 where outputs came with the operations that they are computed by, else 0."),
    Measure("outputs_probable", "share", "Share of the looks at which rows of outputs sum to 1 and none is below 0."),
    Measure("outputs_least", "value", "Smallest output of all looks."),
    Measure("outputs_most", "value", "Largest output of all looks."),
    Measure(
        "outputs_at_floor",
        "share",
        "Share of the outputs that are `outputs_least`, to the last bit, where that is the smallest of most looks; "
        "else 0.",
    ),
    Measure("targets_below", "share", "Share of the targets, one an output, that lie below all outputs of their look."),
    Measure("targets_outside_unit", "share", "Share of the targets, one an output, that lie outside [0, 1]."),
    Measure("loss_choices", "count", "Outputs that a row's target is one of: classes, or the rows of the batch."),
    Measure(
        "likeliest",
        "share",
        "Largest probability that a softmax over `loss_choices` outputs from `outputs_least` to `outputs_most` gives.",
    ),
    Measure(
        "outputs_constant",
        "share",
        "Share of the looks of two rows or more at which all rows have the same outputs.",
    ),
    Measure(
        "loss_of_probabilities",
        "share",
        "Share of the looks at which the loss is a likelihood or a divergence of probabilities that it takes for "
        "log-probabilities.",
    ),
    Measure("loss_of_logits", "share", "The same of logits that are taken for log-probabilities."),
    Measure("loss_over_rows", "share", "Share of the looks at which the softmax of the loss runs over the rows."),
    Measure(
        "loss_of_one_column", "share", "Share of the looks at which the loss is 0, being of a softmax over one column."
    ),
    Measure("loss_flipped", "share", "Share of the looks at which the loss is minus one that is to be minimised."),
    Measure("flipped_growth", "ratio", "Size of the flipped loss at the last look over that at the first."),
    Measure(
        "usual_cosine",
        "cosine",
        "Of a loss that is none of the recomputed ones: correlation, over the looks, with the usual loss of such "
        "outputs and targets (cross-entropy, or squared error).",
    ),
    Measure("usual_growth", "ratio", "This usual loss at the last look over that at the first."),
    Measure("told_most", "loss", "The largest loss told, where it is none of the recomputed ones."),
    Measure(
        "class_weights_cosine",
        "cosine",
        "Of a loss that is a cross-entropy weighted by class: correlation, over classes, of the logarithms of weights "
        "and of frequencies. Not known of other losses.",
    ),
    Measure("class_weights_span", "ratio", "Largest of these weights over the smallest."),
    Measure("class_counts_span", "ratio", "Rows of the most frequent of these classes over those of the rarest."),
    Measure(
        "positive_weight",
        "ratio",
        "Of a loss that is a binary cross-entropy of logits in which labels of 1 and of 0 have a weight each: the "
        "former over the latter. Not known of other losses.",
    ),
    Measure("predicted_rate", "share", "Mean probability of these logits, over the later half of the looks."),
    Measure("label_rate", "share", "Share of labels of 1 in the same looks."),
    Measure("loss_summed", "share", "Share of the looks at which the loss is a sum over the batch, not a mean."),
    Measure("loss_terms", "count", "Terms that are summed, the median of the looks; not known where none are."),
    Measure(
        "padding_counted",
        "share",
        "Share of the looks at which the loss is a mean over all positions, those of one target that fills the ends of "
        "rows with them. Not known where no target does.",
    ),
    Measure("padding_share", "share", "Share of the positions that this target fills, the mean of the looks."),
    Measure("padding_id", "value", "This target."),
    Measure("padding_in_inputs", "share", "Share of these positions at which the input is the same number."),
    Measure(
        "targets_given",
        "share",
        "Share of the looks at which targets are the inputs themselves in 99 % of the positions, and the loss compares "
        "them in place. Not known where inputs were not given, or change nowhere along a row.",
    ),
    Measure("reconstruction_looks", "count", "Looks at which targets were the inputs, numbers, and outputs as many."),
    Measure(
        "reconstruction_spread",
        "ratio",
        "Variance of these outputs between the rows of a batch over that of the targets, the median of the later half.",
    ),
    Measure("in_batch_softmax", "share", "Share of the looks at which the loss tells each row from others of a batch."),
    Measure(
        "items_repeated",
        "share",
        "Share of the rows of a batch whose item stands in another row of it too, with a score that counts.",
    ),
    Measure(
        "items_corrected",
        "flag",
        "1 where the mean scores of items fall with the logarithm of how often they came, in the first looks, by more "
        "than half of what a correction takes off; 0 where they do not, or too few items came often enough to tell.",
    ),
    Measure(
        "items_skew",
        "ratio",
        "How often two rows have the same item, over how often they would if the items seen were drawn alike.",
    ),
    Measure("items_pairs", "count", "Pairs of rows with the same item, in all looks."),
    Measure(
        "targets_outside",
        "share",
        "Share of the looks at which the loss is a binary cross-entropy and targets lie outside [0, 1].",
    ),
    Measure("targets_least", "value", "Smallest target of all looks."),
    Measure("targets_most", "value", "Largest target of all looks."),
    Measure("targets_kinds", "count", "Different targets seen, as far as they are class numbers or labels of 0 and 1."),
    Measure("targets_count", "count", "Targets in all looks."),
    Measure("labels_from_one", "flag", "1 where class 0 never came and every other class did, else 0."),
    *PLACE_MEASURES,
    *BLANK_MEASURES,
    *TELLING_MEASURES,
    *LEFT_OUT_MEASURES,
)
