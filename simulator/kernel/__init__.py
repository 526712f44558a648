"""The compiled data plane: its tables, its events and its loop."""
