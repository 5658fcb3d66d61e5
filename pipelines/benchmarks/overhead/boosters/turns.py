"""Lets two trainings take turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class GivenUpError(Exception):
    """The waiting ends: there are no more turns."""


class Turns:
    """Says whose turn it is. Only one training runs at a time.

    Args:
        order: the arm that has each turn, by number.
    """

    def __init__(self, order: Sequence[int]) -> None:
        self._order, self._at, self._given_up = list(order), 0, False
        self._changed = threading.Condition()

    def wait(self, arm: int) -> None:
        """Wait until the arm has its turn.

        Raises:
            GivenUpError: the other arm has failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._given_up or self._order[self._at : self._at + 1] == [arm])
            if self._given_up:
                raise GivenUpError("the other training has failed")

    def end(self) -> None:
        """End the turn."""
        with self._changed:
            self._at += 1
            self._changed.notify_all()

    def give_up(self) -> None:
        """End all waiting."""
        with self._changed:
            self._given_up = True
            self._changed.notify_all()


class BoosterArm:
    """One of the trainings: waits for its turns, and times them.

    Args:
        turns: shared by both arms.
        number: which arm.
        rounds: of the whole training, a multiple of `block`.
        block: rounds a turn.
    """

    def __init__(self, turns: Turns, number: int, rounds: int, block: int) -> None:
        self.seconds: list[float] = []
        """Wall time of each turn so far, in seconds."""
        self.cpu_seconds: list[float] = []
        """CPU seconds of the process, which has no other work meanwhile: all threads of the library together."""
        self._turns, self._number, self._rounds, self._block = turns, number, rounds, block
        self._round, self._start, self._cpu_start = 0, 0.0, 0.0

    @property
    def opening(self) -> Callbacks:
        """Callbacks that go before those that are timed."""
        return Callbacks(begin=self._begin)

    @property
    def closing(self) -> Callbacks:
        """Callbacks that go after those that are timed."""
        return Callbacks(end_round=self._end_round, end=self._end)

    def _begin(self) -> None:
        self._turns.wait(self._number)
        self._start, self._cpu_start = time.perf_counter(), time.process_time()

    def _end_round(self) -> None:
        self._round += 1
        if self._round % self._block == 0 and self._round < self._rounds:
            self._end_turn()
            self._begin()

    def _end(self) -> None:
        if self._round == self._rounds:
            self._end_turn()

    def _end_turn(self) -> None:
        self.seconds.append(time.perf_counter() - self._start)
        self.cpu_seconds.append(time.process_time() - self._cpu_start)
        self._turns.end()


class Callbacks:
    """Functions to be called at the beginning, after each round and at the end, in either library's form."""

    def __init__(
        self,
        begin: Callable[[], None] | None = None,
        end_round: Callable[[], None] | None = None,
        end: Callable[[], None] | None = None,
    ) -> None:
        self._begin, self._end_round, self._end = begin, end_round, end

    def as_xgb_callback(self) -> Any:
        """Make a callback for `xgboost.train`."""
        from xgboost.callback import TrainingCallback

        begin, end_round, end = self._begin, self._end_round, self._end

        class Callback(TrainingCallback):
            def before_training(self, model: Any) -> Any:
                if begin:
                    begin()
                return model

            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                if end_round:
                    end_round()
                return False

            def after_training(self, model: Any) -> Any:
                if end:
                    end()
                return model

        return Callback()

    def as_lgb_callback(self) -> Any:
        """Make a callback for `lightgbm.train`, which does not announce the end: it is where the last round ends."""
        begin, end_round, end = self._begin, self._end_round, self._end

        def before(env: Any) -> None:
            if begin and env.iteration == env.begin_iteration:
                begin()

        def after(env: Any) -> None:
            if end_round:
                end_round()
            if end and env.iteration == env.end_iteration - 1:
                end()

        call: Any = before if begin else after
        call.before_iteration, call.order = begin is not None, -1 if begin else 1000
        return call


def in_turns(trainings: Sequence[Callable[[], Any]], turns: Turns) -> list[Any]:
    """Run the trainings, each in a thread of its own, and return their results.

    Raises:
        Exception: what a training raised; the other ends at its next turn.
    """

    def run(training: Callable[[], Any]) -> Any:
        try:
            return training()
        except BaseException:
            turns.give_up()
            raise

    with ThreadPoolExecutor(len(trainings)) as pool:
        running = [pool.submit(run, training) for training in trainings]
    errors = [found for future in running if (found := future.exception()) is not None]
    if errors:
        raise next((error for error in errors if not isinstance(error, GivenUpError)), errors[0])
    return [future.result() for future in running]


def alternating(blocks: int) -> list[int]:
    """Order arms 0 and 1 in turns, each with as many blocks; the order is swapped each time.

    >>> alternating(3)
    [0, 1, 1, 0, 0, 1]
    """
    return [arm for block in range(blocks) for arm in ((0, 1) if block % 2 == 0 else (1, 0))]
