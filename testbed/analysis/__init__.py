"""Compute numbers from records: groups, estimates, comparisons, costs, data frames."""
