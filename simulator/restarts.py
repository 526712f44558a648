"""How long a container waits until it is started again."""

from __future__ import annotations

BACK_OFF_SECONDS, BACK_OFF_CAP_SECONDS, CALM_SECONDS = 10.0, 300.0, 600.0
"""CrashLoopBackOff: the second restart waits 10 s, each further one twice as long up to 5 min; after
10 min without a crash it begins anew. Source: kubernetes/kubernetes pkg/kubelet/kubelet.go."""
MOST_DOUBLINGS = 10
