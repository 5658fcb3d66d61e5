"""Lets a config build on settings of the user's own: `defaults: [/types/MODULE.CLASS@_here_]`.

It stands here because Hydra takes plugins from this namespace package only.
"""

from __future__ import annotations

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

_GROUP = "types/"


class SettingsConfigSource(ConfigSource):
    """`settings://` in a search path: a config of the group `types` with a dot in its name is a class of a module."""

    @staticmethod
    def scheme() -> str:
        """How such a place begins."""
        return "settings"

    def load_config(self, config_path: str) -> ConfigResult:
        """The settings that the name stands for, with their defaults.

        Raises:
            ConfigLoadError: there are no such settings.
        """
        from pipelines.config.settings_types import settings_type  # which none of our own configs needs

        try:
            node = OmegaConf.structured(settings_type(config_path.removeprefix(_GROUP)))
        except Exception as error:
            raise ConfigLoadError(f"/{config_path}: {error}") from None
        return ConfigResult(provider=self.provider, path=f"{self.scheme()}://", config=node, header={"package": None})

    def available(self) -> bool:
        """Modules are looked up when they are named."""
        return True

    def is_group(self, config_path: str) -> bool:
        """The group is that of our own types."""
        return False

    def is_config(self, config_path: str) -> bool:
        """Whether the name is that of a class in a module."""
        return config_path.startswith(_GROUP) and "." in config_path.removeprefix(_GROUP)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Nothing: nobody knows what modules there are."""
        return []
