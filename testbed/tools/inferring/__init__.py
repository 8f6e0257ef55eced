"""Infer censors from reports by calls in the lab: what to simulate, and what comes of it."""
