"""Where a Plant's measurements come from."""
