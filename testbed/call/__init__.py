"""Generate and judge calls with pure functions of data and time."""
