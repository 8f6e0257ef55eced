"""Numbers from records: groups, estimates, comparison, costs; the only place that groups calls."""
