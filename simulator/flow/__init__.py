"""The batch engine's parts: what a cluster does in a step, compiled, for thousands of them."""
