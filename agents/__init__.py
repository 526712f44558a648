"""Everything that decides: rules, learned policies and the loop that asks them."""
