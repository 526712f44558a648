"""Dispatch rules, a file each: which pod takes a request; ``simulator.dispatch.rule`` joins them."""
