"""Everything that asks a question: the command line, runs, calibration and reports."""
