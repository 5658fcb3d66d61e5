"""Measures a network's passes: wasted backward passes, the mode of modules, shared modules, how it is called."""

from __future__ import annotations

from flowgrad.measurements import Measure

PASSES = (
    Measure("backward_passes", "count", "Backward passes before the steps at which it was looked whether they count."),
    Measure("lost_passes", "count", "Of these, passes whose gradient was cleared before any step had used it."),
    Measure("lost_share", "share", "The same, as a share of `backward_passes`."),
    Measure("pass_checks", "count", "Steps of an optimizer before which there were 8 such passes or more."),
    Measure(
        "wasteful_share", "share", "Share of these steps before which nine tenths of the passes or more were lost so."
    ),
)
MODES = (
    Measure(
        "mode_modules",
        "count",
        "Modules that do another thing in training than in evaluation: dropout, and normalisation by the batch.",
    ),
    Measure("mode_dropouts", "count", "Of these, dropout modules that drop something."),
    Measure("dropout_most", "share", "Largest share that one of these drops; 0 without any."),
    Measure(
        "eval_looks", "count", "Last steps looked at in a row that were taken with all of these in evaluation mode."
    ),
    Measure("eval_share", "share", "Steps since the look before these, over all steps; 0 where there are none."),
    Measure("train_looks", "count", "Steps looked at that were taken with all of these in training mode."),
    Measure(
        "held_out_passes",
        "count",
        "Passes without gradients between the last step of an epoch and the next, from the second epoch on.",
    ),
    Measure("held_out_in_training", "share", "Share of these with all of those modules in training mode."),
    Measure(
        "statistics_start",
        "share",
        "Largest part of the statistics of a batch normalisation that is still what they began with, 0 and 1: "
        "(1 - momentum) to the power of the batches that it has met; 0 where there is none that began so.",
    ),
    Measure("statistics_momentum", "share", "Largest momentum of a batch normalisation that met a batch; 0: none."),
    Measure(
        "statistics_unmet",
        "count",
        "Batch normalisations whose statistics are still the 0 and 1 that they began with, as no batch has met them.",
    ),
    Measure(
        "shared_modules",
        "count",
        "Modules with weights that stand in several places of the model, the parts of such a module not counted.",
    ),
)
EVALUATION = (
    Measure(
        "validations_followed",
        "count",
        "Epochs with a validation loss at whose end a pass of the whole model would have been seen: from the second "
        "on, where they end as many steps behind the last as that one did.",
    ),
    Measure(
        "validated_elsewhere",
        "share",
        "Share of these at whose end there was none: another model is validated, a part of this one, or this one "
        "before.",
    ),
    Measure(
        "evaluation_passes",
        "count",
        "Passes without gradients between the last step of an epoch and the next, with the model in evaluation mode; "
        "the first 16.",
    ),
    Measure("evaluation_draws", "share", "Share of these that drew numbers from PyTorch's generator."),
)

CALLS = (
    Measure(
        "time_first_passes", "count", "Passes looked at with a recurrent or attention layer that takes time first."
    ),
    Measure(
        "along_rows",
        "share",
        "Of these, passes in which each such layer took the examples of the batch for the moments of one sequence: its "
        "first axis is as long as the output, which has a row an example, and its second one is above 1 and no "
        "multiple of that.",
    ),
    Measure(
        "labelled_passes",
        "count",
        "Of the first passes looked at, those given `input_ids` and `labels` alike in shape.",
    ),
    Measure("labels_ahead", "share", "Of these, passes whose labels are the tokens one place later."),
    Measure(
        "labels_moved_again",
        "share",
        "Of these, passes whose loss is the cross-entropy with the labels moved by one place more; not looked for "
        "where there are over 16 million outputs.",
    ),
)
SOFTMAXES = (
    Measure(
        "softmax_passes",
        "count",
        "Of the first passes looked at with one row of outputs an example, those with a softmax on the way to it.",
    ),
    Measure(
        "softmax_over_rows",
        "share",
        "Of these, passes in which a softmax of several numbers an example runs over the examples: along its first "
        "axis, which is as long as the batch, as no other axis is.",
    ),
)
MASKS = (
    Measure(
        "attended_sequences",
        "count",
        "Sequences, filled up at an end with the id of padding, that an attention layer of torch read in the passes "
        "looked at; more than once where several layers did.",
    ),
    Measure(
        "mask_inverted", "share", "Of these, sequences whose mask leaves out all that is no padding, and that alone."
    ),
    Measure(
        "padding_attended", "share", "Of these, sequences of which no mask was given that could leave out padding."
    ),
    Measure(
        "padding_attended_alone",
        "count",
        "Passes looked at whose `attention_mask` keeps one single id of `input_ids`, which stands nowhere else, alone.",
    ),
)
POSITIONS = (
    Measure(
        "position_pairs",
        "count",
        "Pairs of places of a sequence with one token that an attention layer of torch, the first of a pass, is given "
        "without a causal mask.",
    ),
    Measure("positions_alike", "share", "Of these, pairs for which it is given one and the same vector."),
    Measure("position_passes", "count", "First passes looked at with such a layer, whose graph was walked."),
    Measure(
        "positions_apart",
        "share",
        "Of these, passes in which all that comes before the layer does the same to each token, by the graph: layers, "
        "activations and lookups, and nothing that is added.",
    ),
)
COLUMNS = (
    Measure(
        "columns_largest",
        "value",
        "Largest root mean square of a column of what linear layers are given, at their first use, where that is data "
        "or holds data beside what layers made.",
    ),
    Measure("columns_median", "value", "Median root mean square of the columns of the same layer's input."),
)

BATCH_ROWS = (
    Measure(
        "normalised_batches",
        "count",
        "Batches that a batch normalisation in training mode met in the passes looked at.",
    ),
    Measure(
        "normalised_values",
        "count",
        "Values a channel that a batch normalisation in training mode takes its statistics from, the most of the "
        "passes looked at.",
    ),
)
PADDED = (
    Measure(
        "padded_passes",
        "count",
        "Passes looked at in which a recurrent layer was given looked-up sequences of which some end in padding.",
    ),
    Measure("padded_share", "share", "Sequences of such layers that end in padding, two places of it at least."),
    Measure(
        "read_behind_end",
        "share",
        "Of the squared gradient that reaches the states of those sequences, what reaches states behind their end; the "
        "backward direction is left out.",
    ),
)
ENDS = (
    Measure(
        "ended_passes",
        "count",
        "Of the first passes looked at, those given `input_ids`, `attention_mask` and `labels` that are the tokens "
        "themselves, whose texts end in one token, as far as the mask attends, with the one before it as a label.",
    ),
    Measure("ends_untold", "share", "Of these, passes in which that token is nowhere a label."),
)
UNREGISTERED = (
    Measure(
        "unregistered",
        "count",
        "Tensors of modules that the model holds in a plain list, dict or attribute and does not register, which took "
        "a gradient and which no optimizer given holds.",
    ),
)
HALVES = (
    Measure("half_entries", "share", "Entries that are trained and of 16 bits, without a copy in more bits."),
    Measure(
        "half_unmoved",
        "share",
        "Of these, entries with a gradient that a step leaves as they were, mean of the looks; tables apart.",
    ),
)
ZEROS = (
    Measure(
        "zeros_most",
        "share",
        "Largest share of exact zeros among other entries that pruning left in a weight, before the first step or one "
        "behind an epoch; of the weight that has lost the most of them. Rows that are zero as a whole, tables and "
        "zeros that an initialiser drew are left out.",
    ),
    Measure("zeros_left", "share", "Share of exact zeros of that weight before the last step that was read."),
)
OUTSIDE = (
    Measure(
        "outside_tensors",
        "count",
        "Tensors that ask for a gradient and that the losses told lead to, which are neither the model's nor held by "
        "an optimizer given. Not known where losses came without their graph, as of `loss.item()`.",
    ),
    Measure("outside_still", "count", "Of these, tensors that are at the end as they were when first seen."),
    Measure(
        "outside_still_trained",
        "count",
        "Of those, weights that do not look as initialisers draw them: trained before.",
    ),
)


def thrown_away(passes: int, lost: int, windows: int, wasteful: int) -> dict[str, float]:
    """Compute the figures of `PASSES`.

    >>> thrown_away(40, 38, 2, 2)["lost_share"]
    0.95
    """
    return {
        "backward_passes": float(passes),
        "lost_passes": float(lost),
        "lost_share": lost / passes if passes else float("nan"),
        "pass_checks": float(windows),
        "wasteful_share": wasteful / windows if windows else 0.0,
    }
