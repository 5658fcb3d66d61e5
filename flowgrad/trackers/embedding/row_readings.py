"""Computes measures from counts and followed weights: the row table, and the scalars over it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from flowgrad.lazy import LazyModule
from flowgrad.measures import embedding as measures
from flowgrad.trackers.embedding.followed import FollowedRows, as_array
from flowgrad.trackers.embedding.probes import StepCourse

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")  # imported where a table is made

LEAST_LOOKS = 4
"""Number of probed lookups from which a row's velocity is compared with that of others."""
_PIECE = 65_536
"""Number of rows that are read at once."""
_WEIGHTS_ALONE = ("norm", "init_cosine", "row_loss", "label_conflict", "moved", "growth")
"""Columns that are known without any count."""
_BEGINNING = ("initial_drawn", "initial_column_spread", "initial_row_spread")
ROW_MEASURES = [measure.name for measure in measures.MEASURES if measure.per_row]


class Counted(NamedTuple):
    """Counts by row, each of shape (rows,) but for the last two."""

    exposures: torch.Tensor
    looks: torch.Tensor
    gradients: torch.Tensor
    moves: torch.Tensor
    path: torch.Tensor
    panel_path: torch.Tensor
    panel_idle_path: torch.Tensor


def read_rows(
    weight: torch.Tensor,
    counted: Counted,
    followed: FollowedRows | None,
    told: Mapping[str, np.ndarray],
    *,
    renormed: bool,
    padding: int | None,
    blind: bool = False,
) -> pd.DataFrame:
    """Make one line a row of the table but `padding`: the per-row measures; `moved` and `growth`
    (`FollowedRows.readings`).

    Args:
        weight: the table, shape (rows, dim).
        counted: what was counted.
        followed: the rows followed, if any are yet.
        told: measures that the table cannot show, by name, each of shape (rows,).
        renormed: whether the layer itself shortens rows.
        padding: row that is no row.
        blind: whether what was counted says nothing; all that rests on it is NaN then.
    """
    exposures, looks, gradients, moves, path = (as_array(tensor).astype(float) for tensor in counted[:5])
    nothing = np.full(len(exposures), np.nan)
    read = followed.readings(weight, renormed) if followed else {}
    moved, jitter = read.get("moved", nothing), read.get("jitter", nothing)
    # A piece at a time: a copy of the whole table in double precision may be more than there is room for.
    norm = as_array(torch.cat([torch.linalg.vector_norm(p.double(), dim=1) for p in weight.split(_PIECE)]))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        velocity = path / looks
        score_noise = measures.score_noise(jitter, norm, weight.shape[1])
    # A row that is not followed may have moved at a step without a probe, unless all its lookups were probed.
    unknown = (exposures > 0) & np.where(np.isnan(moved), looks < exposures, looks == 0)
    # Probes may have missed the moves of a row; that it stands elsewhere now is as good.
    moves = np.where((moves == 0) & (moved == 1), 1.0, moves)
    # Rows without a lookup stand still, unless those followed show that something else moves such rows.
    unseen = exposures == 0
    untouched = np.where(unseen, 1 - moved, 0.0)
    if not (unseen & (moved == 1)).any():
        untouched = np.where(unseen & np.isnan(moved), 1.0, untouched)
    columns = {
        "exposures": exposures,
        "untouched": untouched,
        "gradient_steps": np.where(unknown, np.nan, gradients),
        "move_steps": np.where(unknown & (moved != 1), np.nan, moves),
        "velocity": velocity,
        "coherence": read.get("coherence", nothing),
        "jitter": jitter,
        "score_noise": score_noise,
        "norm": norm,
        "init_cosine": read.get("init_cosine", nothing),
        "row_loss": told.get("row_loss", nothing),
        "label_conflict": told.get("label_conflict", nothing),
        "moved": moved,
        "growth": read.get("growth", nothing),
    }
    if blind:
        columns = {name: values if name in _WEIGHTS_ALONE else nothing for name, values in columns.items()}
    table = pd.DataFrame(columns, index=pd.RangeIndex(len(exposures), name="row"))
    known = table.assign(velocity=np.where(looks >= LEAST_LOOKS, velocity, np.nan))
    if padding is not None:
        table, known = table.drop(index=padding), known.drop(index=padding)
    return table.assign(**measures.against_alike({str(name): known[name].to_numpy() for name in known}))


def scalars_of(
    rows: pd.DataFrame, weight: torch.Tensor, counted: Counted, followed: FollowedRows | None, probed: StepCourse
) -> dict[str, float]:
    """Compute figures of all rows together: medians are over the exposed ones. Figures that are counted are NaN where
    `rows` do not know them.

    Args:
        rows: what `read_rows` gave.
        weight: the table, shape (rows, dim).
        counted: what was counted.
        followed: the rows followed, if any are yet.
        probed: the longest moves of the probed steps.
    """
    exposures, seen = rows["exposures"], rows[rows["exposures"] > 0]

    def middle(name: str) -> float:
        return measures.median(seen[name].to_numpy())

    structure, rank_share = followed.initial_spectrum if followed else (math.nan, math.nan)
    initial_norm = initial_norm_of(followed, weight)
    return {
        "rows": float(len(rows)),
        "followed_rows": float(np.isfinite(rows["moved"]).sum()),
        "dim": float(weight.shape[1]),
        "windows": float(followed.windows.closed if followed else 0),
        "total_exposures": float(exposures.sum(min_count=1)),
        "exposure_gini": measures.exposure_gini(exposures),
        "head_share": measures.head_share(exposures),
        "mean_exposures": float(exposures.mean()) if len(rows) else math.nan,
        "median_exposures": middle("exposures"),
        "gradient_share": _share(seen["gradient_steps"]),
        "move_share": _share(seen["move_steps"]),
        "unseen_moved_share": _share(1 - rows.loc[exposures == 0, "untouched"]),
        "median_velocity": middle("velocity"),
        "median_coherence": middle("coherence"),
        "median_jitter": middle("jitter"),
        "median_norm": middle("norm"),
        "initial_scale": followed.initial_scale if followed else math.nan,
        "initial_structure": structure,
        **(followed.beginning() if followed else dict.fromkeys(_BEGINNING, math.nan)),
        "column_spread": followed.column_spread(weight) if followed else math.nan,
        "norm_ratio": middle("growth"),
        "init_alignment": middle("init_cosine"),
        "initial_rank_share": rank_share,
        "effective_rank_share": _effective_rank_share(weight, seen.index.to_numpy()),
        "nonfinite_rows": float((~np.isfinite(rows["norm"].to_numpy())).sum()),
        "first_nonfinite": float(probed.first_nonfinite) if float(probed.first_nonfinite) >= 0 else math.nan,
        "step_growth": measures.step_growth(as_array(probed.recent)),
        "longest_step_ratio": _over(probed.longest, initial_norm),
        "idle_path_share": _ratio(counted.panel_idle_path, counted.panel_path),
    }


def _effective_rank_share(weight: torch.Tensor, seen: np.ndarray) -> float:
    """Effective rank of the rows `seen`, as a share of the most it can be, in (0, 1]."""
    if not len(seen) or weight.shape[1] < 2:
        return math.nan
    gram = torch.zeros(weight.shape[1], weight.shape[1], dtype=torch.float64, device=weight.device)
    for ids in torch.from_numpy(seen.copy()).to(weight.device).split(_PIECE):
        rows = weight[ids].double()
        gram += rows.T @ rows
    most = max(1, min(len(seen), weight.shape[1]))
    return measures.effective_rank_of_gram(as_array(gram)) / most


def initial_norm_of(followed: FollowedRows | None, weight: torch.Tensor) -> float:
    """Root mean square of the norms of the rows followed, in units of the weights, when that began; NaN where none
    are.
    """
    return followed.initial_scale * math.sqrt(weight.shape[1]) if followed else math.nan


def _share(counts: pd.Series) -> float:
    """Share of the known counts that are not zero; NaN where none is known."""
    known = counts.dropna()
    return float((known > 0).mean()) if len(known) else math.nan


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> float:
    return float(part) / float(whole) if float(whole) else math.nan


def _over(length: torch.Tensor, scale: float) -> float:
    """Ratio of a length to a scale; NaN where nothing moved, or there is no scale."""
    return float(length) / scale if scale > 0 and float(length) > 0 else math.nan
