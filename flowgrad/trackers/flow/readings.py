"""Computes the figures that rules read from the sampled steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

from flowgrad.measures import flow
from flowgrad.trackers.flow.activations import ActivationWatch
from flowgrad.trackers.flow.network import NetworkLook
from flowgrad.trackers.flow.parameters import Watched, unit_axis
from flowgrad.trackers.optimizers import Optimizers, decay_of, is_decoupled
from flowgrad.trackers.watching import ArgumentError, ArgumentTypeError

InputFigures = dict[str, float]
Columns = Mapping[str, np.ndarray]
"""Columns of `network_rows` by name, shape (tensors,) each."""
_FEWEST_LOOKS = 5
"""Number of sampled steps from which on the lack of a gradient at all of them is reported."""
_FEWEST_LAYERS = 2
"""Number of layers from which on tables next to them are not asked for the size of first updates and of gradients."""
_MANY_DEAD = 0.5
_IDS = (torch.int16, torch.int32, torch.int64)
_ROWS = 4096
"""Number of inputs that are read at once."""


def network_rows(
    watched: Sequence[Watched],
    network: NetworkLook,
    weights: np.ndarray,
    steps: np.ndarray,
    history: Mapping[str, np.ndarray],
    flags: Mapping[str, np.ndarray],
    loss_first: float,
    starts: np.ndarray,
) -> pd.DataFrame:
    """Make a line a tensor, with the number of units of its layer in `attrs["units"]`; `attrs["tables"]` says which of
    them are tables of embeddings. `starts` are `Optimizers.starts` of the sampled steps, without which updates are told
    as `paced` and `paced_first`.
    """
    now, then = flow.recent(steps), flow.early(steps)
    entries = np.array([w.parameter.numel() for w in watched], dtype=float)
    began = history["weight_norm"][0] if len(steps) else np.full(len(watched), math.nan)
    is_weight = np.array([w.parameter.dim() >= 2 for w in watched])
    gradient = flow.mean_of(history["gradient_norm"][now])
    with np.errstate(all="ignore"):
        share = history["velocity"] / history["weight_norm"]
        update, update_first = flow.mean_of(share[now]), flow.mean_of(share[then])
        paced, paced_first = flow.mean_of((share / starts)[now]), flow.mean_of((share / starts)[then])
    # Layers that begin at zero grow by any share at first, on purpose (adapters, last layers of residual branches).
    update_first, paced_first = (np.where(began > 0, one, math.nan) for one in (update_first, paced_first))
    rms = flow.ratios(gradient, np.sqrt(entries))
    tables = np.array([isinstance(w.owner, nn.Embedding | nn.EmbeddingBag) for w in watched])
    compared = np.isin(np.arange(len(rms)), _beside_tables(np.flatnonzero(is_weight), tables)) | ~tables
    fastest = np.nanmax(update_first[is_weight], initial=0.0) if len(steps) else math.nan
    fan_in = np.array([_fan_in(w) for w in watched])
    start = {figure: history[figure][0] if len(steps) else np.full(len(rms), math.nan) for figure in history}
    dead, units, saturation = network.units()
    columns = {
        "depth": network.depth(),
        "entries": entries,
        "is_weight": is_weight.astype(float),
        **dict(zip(("weight_norm", "weight_mean", "weight_deviation", "weight_range"), weights.T, strict=False)),
        "gradient_norm": gradient,
        "gradient_norm_first": flow.mean_of(history["gradient_norm"][then]),
        "gradient_relative": np.where(
            compared, flow.ratios(rms, np.full(len(rms), flow.median_of(rms[is_weight & compared]))), math.nan
        ),
        "velocity": flow.mean_of(history["velocity"][now]),
        "acceleration": flow.acceleration(steps[now], history["velocity"][now]),
        "update_ratio": update,
        "update_relative": flow.ratios(update, np.full(len(update), flow.median_of(update[is_weight]))),
        "update_ratio_first": update_first,
        "paced": paced,
        "paced_first": paced_first,
        "update_lag": flow.ratios(update_first, np.full(len(rms), fastest)),
        "gain": flow.ratios(start["weight_norm"], np.sqrt(flow.ratios(entries, fan_in))),
        "sensitivity": flow.ratios(start["gradient_norm"] * start["weight_norm"], np.full(len(rms), abs(loss_first))),
        "snr": network.signal_to_noise(),
        "gradient_cosine": flow.mean_of(history["gradient_cosine"][now]),
        "dead_share": flow.ratios(dead, units),
        "saturation": saturation,
        "nonfinite_weights": weights[:, 4],
        **flags,
    }
    columns["cut_off"] = columns["cut_off"] * (columns["requires_grad"] == 1) * (columns["in_optimizer"] != 0)
    table = pd.DataFrame(columns, index=pd.Index([w.name for w in watched]), dtype=float)
    table.attrs["units"] = units
    table.attrs["tables"] = tables
    return table


def network_scalars(
    rows: pd.DataFrame, steps: np.ndarray, history: Mapping[str, np.ndarray], units: np.ndarray, tables: np.ndarray
) -> dict[str, float]:
    """Compute figures of all tensors together; `tables` says which of them are tables of embeddings."""
    now, then = flow.recent(steps), flow.early(steps)
    gradient = history["gradient_norm"]
    total = flow.whole_norm(gradient)
    peak, spike = flow.spike(total)
    of = {str(name): column.to_numpy() for name, column in rows.items()}  # of few tensors, pandas takes twice as long
    # Nobody clears the gradient of a tensor that the optimizer does not hold: it says nothing.
    trained = (of["requires_grad"] == 1) & (of["in_optimizer"] != 0)
    layers = np.flatnonzero((of["is_weight"] == 1) & trained)
    layers = layers[np.argsort(of["depth"][layers])]
    others = _beside_tables(layers, tables)
    root = np.sqrt(of["entries"][others])
    depth, excess, deficit = flow.depth_profile(flow.mean_of(gradient[now])[others] / root)
    depth_first = flow.depth_profile(flow.mean_of(gradient[then])[others] / root)[0]
    inner = flow.depth_profile((flow.mean_of(gradient[then])[others] / root)[1:])[0]
    early_updates = of["paced_first"][others]
    of_tables = layers[tables[layers]]
    began = history["weight_norm"][:1, of_tables] / np.sqrt(of["entries"][of_tables])
    table_size = float(np.nanmin(began, initial=1.0))
    entries = of["entries"]
    asks = of["requires_grad"] == 1
    left_out = asks & (of["in_optimizer"] == 0)
    unused = left_out & (of["had_gradient"] == 1) & (of["moved"] == 0)
    known = not np.isnan(of["in_optimizer"]).any()
    cancelled = _cancelled(rows.index, of)
    without = trained & (of["had_gradient"] == 0) & ~cancelled
    stopped = trained & (of["stopped"] == 1) & (of["had_gradient"] == 1) & ~cancelled
    frozen = ~asks & (of["stopped"] == 1) & (of["had_gradient"] == 1)
    judged = ~np.isnan(of["fresh"]) & asks
    still = ~np.isnan(of["fresh"]) & ~asks & (of["is_weight"] == 1) & (of["had_gradient"] == 0) & ~tables
    drawn = still & (of["fresh"] == 1) & (of["kept"] == 1)
    seen = len(steps) >= _FEWEST_LOOKS
    return {
        "tensors": float(len(rows)),
        "weight_layers": float(len(layers)),
        "total_gradient_norm": float(flow.mean_of(total[now][:, None])[0]),
        "total_gradient_norm_first": float(flow.mean_of(total[then][:, None])[0]),
        "total_gradient_norm_max": peak,
        "gradient_spike": spike,
        "gradient_depth": depth,
        "gradient_depth_first": depth_first,
        "gradient_depth_inner": inner,
        "gradient_depth_unexplained": inner - flow.log_ratio(table_size**2, 1.0),
        "gradient_excess": excess,
        "gradient_deficit": deficit,
        "median_update_ratio": flow.median_of(of["paced"][layers]),
        "median_update_ratio_first": flow.median_of(early_updates),
        "fastest_update_ratio_first": _most(early_updates),
        "table_update_ratio_first": float(np.nan_to_num(_most(of["update_ratio_first"][of_tables]))),
        "table_size_first": table_size,
        "gain_first": _geometric_mean(of["gain"][layers]),
        "least_sensitivity": flow.log_ratio(_least(of["sensitivity"][others]), 1.0),
        "median_snr": flow.median_of(of["snr"][layers]),
        "median_cosine": flow.median_of(of["gradient_cosine"][layers]),
        "dead_units": flow.ratio(float(np.nansum(of["dead_share"] * units)), float(np.nansum(units))),
        "dead_units_max": _most(of["dead_share"]),
        "mean_saturation": _mean(of["saturation"]),
        "nonfinite_tensors": float((of["nonfinite_weights"] > 0).sum()),
        "dead_units_seen": _most(of["dead_share"][of["dead_seen"] == 1]),
        "dead_layers": float(((of["dead_share"] >= _MANY_DEAD) & (of["dead_seen"] == 1)).sum()),
        "lr_share_least": _least(of["lr_share"][layers]),
        "head_to_trained_rate": _head_to_trained({name: column[layers] for name, column in of.items()}),
        "left_out": float(left_out.sum()) if known else math.nan,
        "left_out_entries": float(entries[left_out].sum() / entries.sum()) if known else math.nan,
        "left_unused": float(unused.sum()) if known and len(steps) else math.nan,
        "gradientless": float(without.sum()) if seen else math.nan,
        "gradientless_used": float((without & (of["used"] > 0) & (of["cut_off"] != 1)).sum()) if seen else math.nan,
        "gradientless_share": flow.ratio(float(without.sum()), float(trained.sum())) if seen else math.nan,
        "cut_off_tensors": float((without & (of["cut_off"] == 1)).sum()) if seen else math.nan,
        "cut_proven": rows.attrs["cut_proven"] if seen else math.nan,
        "stopped_tensors": float(stopped.sum()) if seen else math.nan,
        "stopped_share": flow.ratio(float(stopped.sum()), float(trained.sum())) if seen else math.nan,
        "frozen_midway": float(frozen.sum()) if seen else math.nan,
        "trained_before": float((of["fresh"][judged] == 0).mean()) if judged.any() else math.nan,
        "frozen_judged": float(still.sum()),
        "frozen_drawn": float(drawn.sum()),
        "frozen_last_drawn": float((drawn & _is_last(of)).any()),
        "frozen_entries": float(entries[of["requires_grad"] == 0].sum() / entries.sum()),
    }


def _is_last(of: Columns) -> np.ndarray:
    """Flags of the weight that is used last on the way to the output, shape (tensors,)."""
    depth = np.where((of["is_weight"] == 1) & (of["used"] > 0), of["depth"], math.nan)
    return depth == _most(depth)


def _cancelled(names: pd.Index, of: Columns) -> np.ndarray:
    """Flags of biases whose gradient is there and sums up to zero over the examples, while that of their layer's weight
    goes on: the loss counts differences between examples, as that of a Wasserstein critic, and no offset changes them.
    Shape (tensors,).
    """
    at = dict(zip(names, (of["had_gradient"] == 1) & (of["stopped"] != 1), strict=True))
    weights = [
        bool(name.rpartition(".")[2] == "bias" and at.get(name.removesuffix("bias") + "weight")) for name in names
    ]
    return np.array(weights, dtype=bool) & (of["gradient_tensor"] == 1)


def _head_to_trained(of: Columns) -> float:
    """Learning rate of the last layer, where its weights are as they are drawn, over the median one of trained weights;
    NaN where it is not, or none is trained. What lies before it may look drawn after a short training, too.

    Args:
        of: columns of the layers.
    """
    learns = np.flatnonzero((of["requires_grad"] == 1) & (of["in_optimizer"] == 1))
    learns = learns[np.argsort(of["depth"][learns], kind="stable")]
    fresh, rates = of["fresh"][learns], of["lr_share"][learns]
    if not len(learns) or fresh[-1] != 1:
        return math.nan
    return flow.ratio(float(rates[-1]), flow.median_of(rates[fresh == 0]))


def _most(values: np.ndarray) -> float:
    """Largest of the known values; NaN where none is."""
    return float(np.fmax.reduce(values, initial=math.nan))


def _least(values: np.ndarray) -> float:
    return float(np.fmin.reduce(values, initial=math.nan))


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _beside_tables(layers: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """The layers that are no tables of embeddings, where there are enough; else all.

    Tables are drawn small so that they grow at once, and a batch reaches few of their rows, so that the gradient over
    all entries is small, too.
    """
    others = layers[~tables[layers]]
    return others if len(others) >= _FEWEST_LAYERS else layers


def frozen_for(rows: pd.DataFrame, steps: int) -> float:
    """Share of all steps, in [0, 1], since the last gradient of the tensors that ask for none any more, of the median
    one.
    """
    frozen = (rows["requires_grad"] == 0) & (rows["stopped"] == 1) & (rows["had_gradient"] == 1)
    last = flow.median_of(rows["last_gradient"][frozen])
    return 1 - last / steps if steps and not math.isnan(last) else 0.0


def decay_scalars(rows: pd.DataFrame, optimizers: Optimizers, early: float, recent: float) -> dict[str, float]:
    """Compute the share of weight decay in the motion of the median weight layer; NaN where optimizers differ in how
    they decay.

    Args:
        rows: `network_rows`.
        optimizers: that were given.
        early: mean of the largest learning rate at the early sampled steps.
        recent: the same at the recent ones.
    """
    settings = {
        (is_decoupled(one, group), decay_of(one, group)) for one in optimizers.all for group in one.param_groups
    }
    settings = {setting for setting in settings if setting[1] != 0}
    if len(settings) != 1:
        return dict.fromkeys(("decay_pull", "decay_pull_first"), math.nan if settings else 0.0)
    decoupled, decay = settings.pop()
    layers = rows[(rows["is_weight"] == 1) & (rows["requires_grad"] == 1) & (rows["in_optimizer"] == 1)]
    found = {}
    for name, end, rate in (("decay_pull", "", recent), ("decay_pull_first", "_first", early)):
        if decoupled:
            pull = flow.ratios(np.full(len(layers), rate * decay), layers[f"update_ratio{end}"].to_numpy())
        else:
            own = decay * layers["weight_norm"].to_numpy()
            pull = flow.ratios(own, own + layers[f"gradient_norm{end}"].to_numpy())
        found[name] = min(flow.median_of(pull), 1.0)
    return found


def first_normalises(watched: Sequence[Watched], depth: np.ndarray) -> bool:
    """Whether the module used first makes the size of its input matter little, as a normalisation or a table of rows
    does.
    """
    owner = watched[int(np.argmin(depth))].owner
    tables = (nn.Embedding, nn.EmbeddingBag)
    return isinstance(owner, tables) or "Norm" in type(owner).__name__


def given_scalars(activations: ActivationWatch) -> dict[str, float]:
    """Size of the input of the module used first, and whether that was seen."""
    given = activations.first_given
    return {
        "layer_input_size": math.nan if given is None else float(given),
        "layer_input_seen": float(given is not None),
    }


def usual_norms(watched: Sequence[Watched]) -> np.ndarray:
    """Norm of each tensor with entries of one over the root of its fan-in, shape (tensors,); NaN without units."""
    numel = np.array([w.parameter.numel() for w in watched], dtype=float)
    return np.sqrt(flow.ratios(numel, np.array([_fan_in(w) for w in watched])))


def _fan_in(watched: Watched) -> float:
    """Number of inputs of a unit of the layer; NaN of a tensor without units."""
    axis = unit_axis(watched)
    return math.nan if axis is None else watched.parameter.numel() / watched.parameter.shape[axis]


def _geometric_mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values) & (values > 0)]
    return float(np.exp(np.log(known).mean())) if len(known) else math.nan


def observe(inputs: torch.Tensor | np.ndarray, tracker: str) -> InputFigures:
    """Compute figures of a network's inputs, shape (n, features...)."""
    if isinstance(inputs, torch.Tensor) and inputs.dtype in _IDS:
        return {}  # rows of tables, whose numbers have no size
    if not hasattr(inputs, "shape"):
        raise ArgumentTypeError(f"{tracker}: inputs are {type(inputs).__name__}; give a tensor or an array of rows")
    shape = tuple(inputs.shape)
    if not shape or shape[0] < 1 or math.prod(shape[1:]) < 1:
        raise ArgumentError(f"{tracker}: inputs have shape {shape}; give rows of features, shape (n, features...)")
    count = np.zeros(math.prod(shape[1:]))
    mean, square, broken = np.zeros(len(count)), np.zeros(len(count)), 0
    binary = np.ones(len(count), dtype=bool)
    for start in range(0, shape[0], _ROWS):
        part = inputs[start : start + _ROWS]
        values = part.detach().cpu().double().numpy() if isinstance(part, torch.Tensor) else np.asarray(part, float)
        values = values.reshape(len(values), -1)
        finite = np.isfinite(values)
        broken += int((~finite).sum())
        values = np.where(finite, values, 0.0)
        binary &= ((values == 0) | (values == 1)).all(axis=0)
        n = finite.sum(axis=0)
        level = values.sum(axis=0) / np.maximum(n, 1)
        off = np.where(finite, values - level, 0.0)
        whole = np.maximum(count + n, 1)
        square += (off**2).sum(axis=0) + (level - mean) ** 2 * count * n / whole
        mean += (level - mean) * n / whole
        count += n
    return flow.input_figures(shape[0], mean, np.sqrt(square / np.maximum(count, 1)), broken, binary)
