"""A logger that several tests read."""

from __future__ import annotations

from flowgrad.loggers import Logger


class Kept(Logger):
    """Keeps what it is told, and fails at one kind of call."""

    def __init__(self, failing=""):
        self.calls, self.failing = [], failing
        self.series, self.alerts, self.files = {}, [], {}

    def _called(self, name):
        self.calls.append(name)
        if name == self.failing:
            raise ConnectionError("the server\nis gone")

    def settings(self, values):
        self._called("settings")

    def scalars(self, values, step):
        self._called("scalars")
        for name, value in values.items():
            self.series.setdefault(name, []).append((step, value))

    def alert(self, title, text, severity):
        self._called("alert")
        self.alerts.append((title, text, severity))

    def artifact(self, path):
        self._called("artifact")
        self.files[path.name] = path.read_text("utf-8")

    def flush(self):
        self._called("flush")

    def close(self):
        self._called("close")
