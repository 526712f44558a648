"""Everything that acts on a real cluster."""
