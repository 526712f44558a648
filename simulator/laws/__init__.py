"""Service-time laws, a file each; ``simulator.laws.law`` joins them."""
