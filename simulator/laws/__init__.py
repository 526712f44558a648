"""Service-time laws: settings, a file each, joined by ``law``; their compiled draws are in ``draws``."""
