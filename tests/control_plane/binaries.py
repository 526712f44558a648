"""Where the programs of a control plane come from.

The folder of KUBEBUILDER_ASSETS where it is set, as for other projects' tests. setup-envtest puts etcd and
kube-apiserver there; the other programs, of the same version, may lie in the folder SETPOINT_KUBE_BINARIES.
Elsewhere it is what `make control-plane` built.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

BUILD = Path(__file__).with_name("build.sh")


def folders() -> tuple[str, ...]:
    """Where to look, in this order."""
    named = [
        os.environ[name] for name in ("KUBEBUILDER_ASSETS", "SETPOINT_KUBE_BINARIES") if os.environ.get(name)
    ]
    if named:
        return tuple(named)
    return (subprocess.run([BUILD, "path"], capture_output=True, text=True, check=True).stdout.strip(),)


def find(name: str) -> Path | None:
    """A program, or None where it is missing."""
    path = shutil.which(name, path=os.pathsep.join(folders()))
    return Path(path) if path else None


def require(*names: str) -> list[Path]:
    """Programs.

    Raises:
        FileNotFoundError: one is missing; says where it was looked for and how to have it.
    """
    found = {name: find(name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        how = (
            "set SETPOINT_KUBE_BINARIES to a folder that has them"
            if os.environ.get("KUBEBUILDER_ASSETS")
            else "run `make control-plane`, or set KUBEBUILDER_ASSETS"
        )
        raise FileNotFoundError(f"no {', '.join(missing)} in {', '.join(folders())}: {how}")
    return [path for path in found.values() if path]


def kubernetes_version(api_server: Path) -> tuple[int, int]:
    """Major and minor."""
    said = subprocess.run([api_server, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = re.search(r"v(\d+)\.(\d+)", said).groups()  # type: ignore[union-attr]
    return int(major), int(minor)
