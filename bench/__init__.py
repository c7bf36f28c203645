"""Measurements of what this project promises: ratios against the plain tools, taken in one run on one machine."""
