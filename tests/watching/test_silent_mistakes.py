"""Mistakes that leave a loss that looks right, each beside a sound habit that resembles it."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import flowgrad


def rows(count=256, width=10, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, width, generator=random)
    return x, (x[:, :3].sum(1) > 0).long()


def net(*, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 2))


def types(watch):
    return {found.type for found in watch.findings()}


def found(watch, kind):
    return next((one for one in watch.findings() if one.type == kind), None)


def causes(finding):
    return [candidate.cause for candidate in finding.candidates]


def train(model, *, lr=0.01, epochs=6, schedule=None, validated=None, after=lambda: None):
    """A watched training of a classifier, validated by the model itself or by another one."""
    x, y = rows()
    optimizer = torch.optim.Adam(model.parameters(), lr)
    scheduler = None if schedule is None else torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    watch = flowgrad.watch(model, optimizer)
    for _ in range(epochs):
        for k in range(0, 192, 32):
            loss = F.cross_entropy(model(x[k : k + 32]), y[k : k + 32])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            after()
            if scheduler is not None:
                scheduler.step()
            watch.log(loss=loss)
        with torch.no_grad():
            watch.log(val_loss=F.cross_entropy((validated or model)(x[192:]), y[192:]).item())
        watch.end_epoch()
    watch.detach()
    return watch


def averaged(decay):
    """An average of the weights of a model beside it, and what moves it after a step."""
    model = net()
    average = copy.deepcopy(model)

    def move():
        with torch.no_grad():
            for own, trained in zip(average.parameters(), model.parameters(), strict=True):
                own.lerp_(trained, 1 - decay)

    return model, average, move


def test_a_validated_average_that_lags_is_asked_about():
    """An average of decay .9999 next to its start was validated, and nothing was said."""
    model, average, move = averaged(0.9999)
    watch = train(model, epochs=8, validated=average, after=move)
    assert causes(found(watch, "VALIDATION_STANDS_STILL"))[0] == "AVERAGE_LAGS"


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_an_average_that_follows_is_validated_in_silence(decay):
    model, average, move = averaged(decay)
    assert "VALIDATION_STANDS_STILL" not in types(train(model, epochs=8, validated=average, after=move))


def test_what_was_learned_in_the_first_epoch_leaves_the_validation_nothing_to_move():
    """The mean of the first epoch's losses holds those of its start; validation comes at its end."""
    training = flowgrad.TrainingTracker()
    for loss, held_out in zip([5.0, 0.84, 0.83, 0.82, 0.82, 0.82], [0.801, 0.8, 0.799, 0.8, 0.798, 0.799], strict=True):
        training.end_epoch(loss, held_out)
    assert "VALIDATION_STANDS_STILL" not in types(training)


def test_a_schedule_that_multiplies_the_rate_by_itself_is_told_apart_from_a_warm_up():
    """The function of a LambdaLR that returned a rate was asked about as a warm-up that is stepped too seldom."""
    (squared,) = [one for one in train(net(), lr=0.02, epochs=9, schedule=lambda _: 0.02).findings() if not one.follows]
    assert (squared.type, causes(squared)[0]) == ("RATE_BELOW_ITS_BASE", "FACTOR_IS_A_RATE")
    (begun,) = [one for one in train(net(), lr=0.02, epochs=9, schedule=lambda _: 0.05).findings() if not one.follows]
    assert causes(begun)[:1] != ["FACTOR_IS_A_RATE"]


@pytest.mark.parametrize(("schedule", "claimed"), [(None, True), (lambda step: 1.0 if step < 20 else 0.4, False)])
def test_what_falls_while_the_rate_descends_is_not_claimed_to_be_cut_short(schedule, claimed):
    """More epochs were prescribed to a run whose schedule had just come to its end."""
    watch = train(net(), lr=0.02, epochs=4, schedule=schedule)
    cut = {one.type: one for one in watch.findings()}
    assert ("TRAINING_CUT_SHORT" in cut or "SLOW_CONVERGENCE" in cut) == claimed
    if not claimed:
        assert not cut["STILL_IMPROVING"].plain
        assert "RATE_DESCENDS" in {cause for one in watch.findings() for cause in causes(one)}


def streams(*, time_first, aligned=True):
    """Batches of tokens and the tokens that come next, of streams that are read side by side."""
    random = torch.Generator().manual_seed(0)
    tokens = (torch.rand(6, 401, generator=random) ** 2 * 12).long()
    tokens[:, 1::2] = (tokens[:, :-1:2] + 1) % 12
    others = tokens if aligned else tokens[:, torch.randperm(401, generator=random)]
    for k in range(0, 400, 20):
        x, y = tokens[:, k : k + 20], others[:, k + 1 : k + 21]
        yield (x.T, y.T) if time_first else (x, y)


@pytest.mark.parametrize(("time_first", "aligned"), [(True, True), (False, True)])
def test_tokens_that_come_next_belong_to_their_rows_whatever_the_axis_of_time(time_first, aligned):
    """Each row of time-first streams is a moment: rows of targets were said not to belong to their rows."""
    batches = flowgrad.BatchTracker()
    for x, y in streams(time_first=time_first, aligned=aligned):
        batches.step(x, y)
    assert "TARGETS_NOT_OF_THEIR_ROWS" not in types(batches)
    assert math.isnan(batches.summary()["sequence_agreement"]) == time_first


def step(model, optimizer, watch, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    watch.log(loss=loss)


def fit(model, forward, x, y, *, size=16, steps=24, optimizer=None):
    """A watched training of a classifier of rows."""
    optimizer = torch.optim.Adam(model.parameters(), 0.01) if optimizer is None else optimizer
    watch = flowgrad.watch(model, optimizer)
    for k in range(steps):
        chosen = torch.arange(k * size, (k + 1) * size) % len(x)
        step(model, optimizer, watch, F.cross_entropy(forward(x[chosen]), y[chosen]))
    watch.detach()
    return watch


class Reader(nn.Module):
    """A classifier of sequences of five moments, or of one sequence whose moments have a class each."""

    def __init__(self, kind, *, batch_first, swap=False):
        super().__init__()
        self.layer = nn.GRU(2, 8, batch_first=batch_first) if kind == "recurrent" else None
        self.mix = nn.MultiheadAttention(2, 1, batch_first=batch_first) if kind == "attention" else None
        self.head, self.swap = nn.Linear(8 if kind == "recurrent" else 2, 2), swap

    def forward(self, x):
        x = x.view(len(x), 5, 2)
        x = x.transpose(0, 1) if self.swap else x
        read = self.layer(x)[0] if self.mix is None else self.mix(x, x, x)[0]
        return self.head(read[-1] if self.swap else read[:, -1])


@pytest.mark.parametrize("kind", ["recurrent", "attention"])
def test_a_layer_that_takes_the_batch_for_time_is_asked_about(kind):
    """An LSTM without batch_first=True mixed the rows of each batch, and the report was healthy."""
    model = Reader(kind, batch_first=False)
    watch = fit(model, model, *rows())
    assert causes(found(watch, "STATE_RUNS_ALONG_THE_BATCH"))[0] == "BATCH_TAKEN_FOR_TIME"


class Tagger(nn.Module):
    """Classes of the moments of one sequence at a time."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.GRU(10, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.layer(x[:, None])[0][:, 0])


@pytest.mark.parametrize(
    "model",
    [lambda: Reader("recurrent", batch_first=True), lambda: Reader("recurrent", batch_first=False, swap=True), Tagger],
)
def test_layers_that_run_along_time_are_silent(model):
    assert "STATE_RUNS_ALONG_THE_BATCH" not in types(fit(made := model(), made, *rows()))


class Listed(nn.Module):
    """A network whose middle layers stand in a list."""

    def __init__(self, hold, *, fixed=False):
        super().__init__()
        middle = [nn.Linear(16, 16) for _ in range(2)]
        for layer in middle:
            layer.requires_grad_(not fixed)
        self.first, self.head, self.middle = nn.Linear(10, 16), nn.Linear(16, 2), hold(middle)

    def forward(self, x):
        x = self.first(x).relu()
        for layer in self.middle:
            x = layer(x).relu()
        return self.head(x)


@pytest.mark.parametrize(
    ("hold", "fixed", "given", "said"),
    [
        (list, False, False, True),
        (nn.ModuleList, False, False, False),
        (list, True, False, False),
        (list, False, True, False),
    ],
)
def test_layers_in_a_plain_list_are_named_where_they_were_to_learn(hold, fixed, given, said):
    """Layers in a plain list stayed as they were drawn, and the report did not say that it saw none of them."""
    model = Listed(hold, fixed=fixed)
    hidden = [p for layer in model.middle for p in layer.parameters()] if given else []
    optimizer = torch.optim.Adam([*model.parameters(), *hidden], 0.01)
    watch = fit(model, model, *rows(), optimizer=optimizer)
    assert ("LAYERS_NOT_REGISTERED" in types(watch)) == said
    assert ("middle[0].weight" in watch.report()) == said


@pytest.mark.parametrize(
    ("training", "pretrained", "said"), [(False, False, True), (False, True, False), (True, False, False)]
)
def test_normalisation_that_met_no_batch_is_named(training, pretrained, said):
    """A network was trained in evaluation mode from the first step on, and only the faded gradients were told."""
    norm = nn.BatchNorm1d(16)
    model = nn.Sequential(nn.Linear(10, 16), norm, nn.ReLU(), nn.Linear(16, 2))
    if pretrained:
        norm(torch.randn(64, 16, generator=torch.Generator().manual_seed(0)))
    watch = fit(model.train(training), model, *rows())
    assert ("BATCH_STATISTICS_NEVER_MET" in types(watch)) == said


class Causal(nn.Module):
    """A language model that is given its labels; it may move them by one place itself."""

    def __init__(self, *, moves):
        super().__init__()
        self.table, self.head, self.moves = nn.Embedding(12, 8), nn.Linear(8, 12), moves

    def forward(self, input_ids=None, labels=None):
        logits = self.head(self.table(input_ids))
        own, told = (logits[:, :-1], labels[:, 1:]) if self.moves else (logits, labels)
        return {"loss": F.cross_entropy(own.flatten(0, 1), told.flatten()), "logits": logits}


@pytest.mark.parametrize(
    ("moves", "ahead", "kind"),
    [(True, True, "LABELS_SHIFTED_TWICE"), (True, False, None), (False, True, "LABELS_ONE_PLACE_AHEAD")],
)
def test_labels_that_are_moved_twice_are_named(moves, ahead, kind):
    """Labels were moved by the loop and by the model, which learned the token after the next."""
    model = Causal(moves=moves)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer)
    for x, y in streams(time_first=False):
        step(model, optimizer, watch, model(input_ids=x, labels=y if ahead else x)["loss"])
    watch.detach()
    said = types(watch) & {"LABELS_SHIFTED_TWICE", "LABELS_ONE_PLACE_AHEAD"}
    assert said == ({kind} if kind else set())


class Mixing(nn.Module):
    """A language model that reads tokens around each place, or before it alone."""

    def __init__(self, *, causal):
        super().__init__()
        self.table, self.head, self.causal = nn.Embedding(12, 16), nn.Linear(16, 12), causal
        self.mix = nn.Conv1d(16, 16, 3)

    def forward(self, x):
        read = F.pad(self.table(x).transpose(1, 2), (2, 0) if self.causal else (1, 1))
        return self.head(self.mix(read).relu().transpose(1, 2))


@pytest.mark.parametrize(("causal", "padded"), [(False, False), (True, False), (True, True)])
def test_a_language_model_that_sees_what_it_predicts_is_asked_about(causal, padded):
    """A model without a causal mask had the lowest loss of all, and the report said that it still improved.

    Places that are padding are left out of the loss, and stay as bad as they were.
    """
    random = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Mixing(causal=causal)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    batches = flowgrad.BatchTracker(optimizer=optimizer)
    for _ in range(220):
        tokens = 1 + (torch.rand(32, 9, generator=random) ** 1.2 * 11).long()
        if padded:
            tokens[: len(tokens) // 2, 4:] = 0
        x, y = tokens[:, :-1], tokens[:, 1:]
        outputs = model(x)
        loss = F.cross_entropy(outputs.flatten(0, 1), y.flatten(), ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        batches.step(x, y, outputs=outputs, loss=loss)
    said = found(batches, "FUTURE_TOKENS_SEEN")
    assert said is None if causal else causes(said)[0] == "CAUSAL_MASK_MISSING"
    assert (batches.summary()["places_looks"] >= 4) != padded


def block(inputs, outputs, normalised):
    return [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if normalised else []), nn.ReLU()]


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize(("body", "head", "said"), [(0.1, 0.001, True), (0.001, 0.1, False), (0.01, 0.01, False)])
def test_rates_of_a_body_and_a_new_head_that_are_swapped_are_asked_about(body, head, said, normalised):
    """A pretrained body had a hundred times the rate of the new head, and few rows alone were asked about."""
    x, y = rows()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(*block(10, 32, normalised), *block(32, 32, normalised), nn.Linear(32, 2))
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(80):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            for layer in model[:-1]:
                if isinstance(layer, nn.Linear):
                    layer.weight[:, ::8] *= 6  # what tells is learned the longer the more
        model[-1] = nn.Linear(32, 2)
    groups = [{"params": model[:-1].parameters(), "lr": body}, {"params": model[-1].parameters(), "lr": head}]
    watch = fit(model, model, x, y, optimizer=torch.optim.SGD(groups))
    assert ("RATES_UPSIDE_DOWN" in types(watch)) == said


class Autoencoder(nn.Module):
    """A variational autoencoder of ten numbers."""

    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(10, 8), nn.Linear(4, 10)
        self.noise = torch.Generator().manual_seed(0)

    def forward(self, x):
        mean, log_variance = self.encode(x).chunk(2, 1)
        noise = torch.randn(mean.shape, generator=self.noise)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return self.decode(mean + noise * (log_variance / 2).exp()), divergence.mean()


@pytest.mark.parametrize("weight", [10.0, 0.01])
def test_an_autoencoder_that_ignores_its_input_is_asked_about(weight):
    """A divergence that was a sum outweighed a mean, the code said nothing, and silent units alone were told."""
    random = torch.Generator().manual_seed(0)
    x = (torch.randn(256, 3, generator=random) @ torch.randn(3, 10, generator=random)) * 0.3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    batches = flowgrad.BatchTracker(optimizer=optimizer)
    for k in range(220):
        rows = x[torch.arange(k * 32, k * 32 + 32) % 256]
        outputs, divergence = model(rows)
        loss = F.mse_loss(outputs, rows) + weight * divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        batches.step(rows, rows, outputs=outputs, loss=loss)
    said = found(batches, "RECONSTRUCTION_IGNORES_INPUT")
    assert causes(said)[0] == "ANOTHER_TERM_OUTWEIGHS" if weight >= 1 else said is None


@pytest.mark.parametrize(("every", "asked"), [(24, True), (1, False)])
def test_a_schedule_of_steps_that_epochs_step_is_asked_about_and_no_more_epochs_prescribed(every, asked):
    """pytorch/pytorch #65417: OneCycleLR was stepped once an epoch, and a hundred epochs were prescribed."""
    x, y = rows()
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=97)
    watch = flowgrad.watch(model, optimizer)
    for epoch in range(4):
        for k in range(0, 192, 8):
            loss = F.cross_entropy(model(x[k : k + 8]), y[k : k + 8])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if k // 8 % every == every - 1:
                schedule.step()
            watch.log(loss=loss)
        watch.end_epoch(val_loss=1 / (epoch + 1))
    assert ("RATE_BELOW_ITS_BASE" in types(watch)) == asked
    assert watch.to_report().learning_rate.verdict == "open" or not asked
    more = [one for one in watch.findings() if one.type in {"SLOW_CONVERGENCE", "TRAINING_CUT_SHORT"}]
    assert (more and not asked) or all(one.follows == "RATE_BELOW_ITS_BASE" and not one.plain for one in more)


def critic(outputs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(10, 16), nn.LeakyReLU(0.2), nn.Linear(16, 16), outputs(), nn.Linear(16, 1))


class Silent(nn.Module):
    """An activation that no hook shows, of whose units most are below zero for every example."""

    def forward(self, x):
        return F.relu(x - 100 * (torch.arange(x.shape[1]) > 2))


@pytest.mark.parametrize(("outputs", "said"), [(lambda: nn.LeakyReLU(0.2), False), (Silent, True)])
def test_units_whose_bias_cancels_in_a_loss_of_differences_are_not_called_silent(outputs, said):
    """igul222/improved_wgan_training #17: 100 % of a layer of LeakyReLUs was told to be silent on every example, as the
    gradient of its bias is zero where a critic counts real rows less made ones, and so is that of its last bias.
    """
    model = critic(outputs)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    x, _ = rows()
    watch = flowgrad.watch(model, optimizer)
    for step in range(80):
        real, made = x[:32] + step / 100, torch.zeros(32, 10)
        loss = model(made).mean() - model(real).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch.log(loss=loss)
    assert ("UNITS_WITHOUT_GRADIENT" in types(watch)) == said
    assert "PARAMETERS_WITHOUT_GRADIENT" not in types(watch)


def body():
    return nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())


class Wrapped(nn.Module):
    """A module that holds a network under a name, as those of Lightning do."""

    def __init__(self):
        super().__init__()
        self.model = body()


@pytest.mark.parametrize(("prefix", "said"), [("model.", False), ("", True)])
def test_a_frozen_body_whose_checkpoint_matched_nothing_is_asked_about(prefix, said):
    """pytorch/examples #1029: strict=False loaded nothing, and a head was trained on random features."""
    x, y = rows()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wrapped, head, own = Wrapped(), nn.Linear(32, 2), body()
    whole = nn.Sequential(wrapped.model, head)
    fit(whole, whole, x, y, steps=300)
    own.load_state_dict(
        {name.removeprefix(prefix): value for name, value in wrapped.state_dict().items()}, strict=False
    )
    model = nn.Sequential(own.requires_grad_(False), nn.Linear(32, 2))
    watch = fit(model, model, x, y, optimizer=torch.optim.Adam(model[1].parameters(), 0.01))
    asked = found(watch, "FROZEN_AS_DRAWN")
    assert (asked is not None) == said
    assert not said or causes(asked)[0] == "WEIGHTS_NOT_LOADED"


class Ending(nn.Module):
    """A causal model of tokens that takes labels and a mask by name, and shifts the labels itself."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(12, 8), nn.Linear(8, 12)

    def forward(self, input_ids, attention_mask, labels):
        scores = self.head(self.table(input_ids))
        loss = F.cross_entropy(scores[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return {"loss": loss, "logits": scores}


@pytest.mark.parametrize(
    ("kind", "said"),
    [("padded by the end", True), ("padded by a token", False), ("completions", False), ("masked", False)],
)
def test_texts_whose_end_is_masked_with_the_padding_are_asked_about(kind, said):
    """huggingface/transformers #23530: with pad_token = eos_token no end was ever a label, and only positions that had
    no gradient were told.
    """
    random = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Ending()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer)
    for _ in range(12):
        length = torch.randint(4, 10, (16, 1), generator=random)
        places = torch.arange(10).expand(16, 10)
        tokens = torch.randint(2, 12, (16, 10), generator=random)
        tokens = torch.where(places < length - 1, tokens, 1)  # 1: the end
        mask = (places < length).long()
        if kind != "padded by the end":
            tokens = tokens.masked_fill(mask == 0, 0)
        labels = tokens.masked_fill(tokens == 1, -100) if kind in {"padded by the end", "masked"} else tokens
        labels = labels.masked_fill(mask == 0, -100)
        if kind == "completions":
            labels = labels.masked_fill(places < length - 2, -100)
        if kind == "masked":  # some tokens are to be filled in, and the end never is
            labels = labels.masked_fill(torch.rand(16, 10, generator=random) > 0.3, -100)
        loss = model(input_ids=tokens, attention_mask=mask, labels=labels)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch.log(loss=loss)
    asked = found(watch, "END_NEVER_A_LABEL")
    assert (asked is not None) == said
    assert not said or causes(asked)[0] == "PADDING_IS_THE_END"


class Targeted(nn.Module):
    """A network and a frozen copy of it that follows, as of Q-learning and of a mean teacher."""

    def __init__(self):
        super().__init__()
        self.online, self.target = body(), body().requires_grad_(False)
        self.head = nn.Linear(32, 2)
        self.target.load_state_dict(self.online.state_dict())

    def forward(self, x):
        return self.head(self.online(x)) + 0.1 * self.head(self.target(x)).detach()

    @torch.no_grad()
    def follow(self, step, *, soft):
        for own, trained in zip(self.target.parameters(), self.online.parameters(), strict=True):
            if soft:
                own.data.copy_(0.9 * own.data + 0.1 * trained.data)
            elif step % 20 == 19:
                own.copy_(trained)


@pytest.mark.parametrize("soft", [True, False])
def test_a_target_network_that_follows_is_left_alone(soft):
    """Held by the optimizer and frozen, it was told to be weights that something unknown moves between the steps."""
    x, y = rows()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Targeted()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer)
    for k in range(60):
        chosen = torch.arange(k * 16, (k + 1) * 16) % len(x)
        step(model, optimizer, watch, F.cross_entropy(model(x[chosen]), y[chosen]))
        model.follow(k, soft=soft)
    assert not types(watch) & {"UPDATES_UNEXPLAINED", "FROZEN_AS_DRAWN", "WEIGHTS_RESET"}


@pytest.mark.parametrize(
    ("first", "scale", "rate", "said"),
    [
        (None, 300.0, 0.01, True),
        (nn.BatchNorm1d(10), 300.0, 0.01, False),
        (None, 1.0, 0.01, False),
        (None, 12.0, 1e-4, False),
    ],
)
def test_large_inputs_that_do_harm_are_named_by_the_layer_that_is_given_them(first, scale, rate, said):
    """Dead units and steps too large follow from them."""
    x, y = rows()
    model = net() if first is None else nn.Sequential(first, *net())
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    watch = flowgrad.watch(model, optimizer)
    for _ in range(10):
        for k in range(0, 256, 16):
            step(model, optimizer, watch, F.cross_entropy(model(scale * x[k : k + 16]), y[k : k + 16]))
        watch.end_epoch()
    watch.detach()
    assert ("UNNORMALISED_INPUTS" in types(watch)) == said
    if said:
        assert all(
            one.follows for one in watch.findings() if one.type != "UNNORMALISED_INPUTS" and one.severity != "info"
        )
