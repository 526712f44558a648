"""What a pod of a service runs: its version, and what it requests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Release:
    """One revision of a Deployment's pod template.

    Attributes:
        service: its place.
        image: which version of the software; another one has to be pulled.
        vcpu_milli: CPU request, thousandths of a vCPU.
        memory_mib: memory request.
        error_probability: of a call.
        slowness: times the CPU that a request needs.
    """

    service: int
    image: int
    vcpu_milli: int
    memory_mib: int
    error_probability: float = 0.0
    slowness: float = 1.0
