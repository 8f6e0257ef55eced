"""Known traffic for a censor profile, and what its numbers are by what arrived: pure, no lab."""
