"""Forecasts of request rates: one file a forecaster, behind one Protocol."""
