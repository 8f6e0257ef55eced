"""From cells to records: jobs, guests, manifests, clusters."""
