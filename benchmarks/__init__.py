"""Measurements against peers, always as ratios taken in one run."""
