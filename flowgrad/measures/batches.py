"""Lists the measures of a loop's batches: rows, their order, other steps, validation rows that training saw."""

from __future__ import annotations

from flowgrad.measurements import Measure
from flowgrad.measures.histories import HISTORY_MEASURES
from flowgrad.measures.ids import ID_MEASURES
from flowgrad.measures.input_levels import INPUT_LEVEL_MEASURES
from flowgrad.measures.loss_figures import LOSS_MEASURES
from flowgrad.measures.overlaps import OVERLAP_MEASURES
from flowgrad.measures.repeated_draws import DRAW_MEASURES
from flowgrad.measures.row_figures import TARGET_MEASURES
from flowgrad.measures.rows_left import ROWS_LEFT_MEASURES
from flowgrad.measures.sentinels import SENTINEL_MEASURES
from flowgrad.measures.sequences import SEQUENCE_MEASURES

ROW_MEASURES = (
    Measure("batches", "count", "Training batches told."),
    Measure("epochs", "epochs", "Epochs told."),
    Measure("distinct_rows", "count", "Distinct rows in training; estimated where they are more than are kept."),
    Measure("validation_rows", "count", "Distinct rows in validation; estimated where they are more than are kept."),
    Measure("rows_ratio", "ratio", "Distinct training rows over distinct validation rows."),
    Measure("rows_again", "share", "Of the rows of an epoch, those of epochs before; lowest of all but the first."),
    Measure(
        "times_an_epoch",
        "count",
        "Median over distinct training rows of how often each came, by epoch. Not known where rows differ from epoch "
        "to epoch.",
    ),
    Measure("same_batch_share", "share", "Training batches that hold the rows of the batch before."),
    Measure("order_repeats", "share", "Training batches that hold the rows of the epoch before at the same place."),
    Measure(
        "targets_between_batches",
        "share",
        "Of the variance of the targets, what lies between batches beyond chance; lowest of the epochs.",
    ),
    Measure("late_steps", "count", "Optimizer steps between the last training batch told and the epoch's end."),
    Measure("late_epochs", "share", "Epochs with more of them than there are between two training batches."),
    Measure("batches_by_step", "ratio", "Training batches told by optimizer step."),
    Measure(
        "validation_seen",
        "share",
        "Distinct validation rows that training saw, equal to the last bit, with the targets that they had then.",
    ),
    Measure(
        "validation_copied",
        "flag",
        "1 where these are more than a few and did not change the part (`validation_rows_left`), and a column has too "
        "many values for chance to give them, or every row of training stands there a whole number of times and rows "
        "met each other by chance far less often; else 0.",
    ),
    Measure(
        "validation_copies_open",
        "flag",
        "1 where they are more than a few and more than twice what rows of the first epoch met among themselves (Good "
        "1953, Biometrika), or chance may give them, or things were met again; else 0.",
    ),
)

MEASURES = (
    *ROW_MEASURES,
    *DRAW_MEASURES,
    *ROWS_LEFT_MEASURES,
    *OVERLAP_MEASURES,
    *INPUT_LEVEL_MEASURES,
    *TARGET_MEASURES,
    *SENTINEL_MEASURES,
    *SEQUENCE_MEASURES,
    *HISTORY_MEASURES,
    *ID_MEASURES,
    *LOSS_MEASURES,
)
"""All measures of batches."""
