"""Registers setpoint's environments when Gymnasium is imported.

Gymnasium 1.0 dropped its plug-in entry points, so ``setpoint-gymnasium.pth`` imports this module
when Python starts; it costs nothing until Gymnasium is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from envs import register_envs


class _AfterGymnasium(MetaPathFinder):
    """Finds Gymnasium as usual and registers once it is loaded.

    It stays until then: many a library asks whether Gymnasium is there long before anyone imports it.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The usual spec, with registration added to its loader."""
        if fullname != "gymnasium":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_and_register(module: ModuleType) -> None:
            load(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            register_envs()

        spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


if "gymnasium" in sys.modules:
    register_envs()
else:
    sys.meta_path.insert(0, _AfterGymnasium())
