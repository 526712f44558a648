"""What happens in a cluster: traces, request-level queues, pods, metrics and cost."""
