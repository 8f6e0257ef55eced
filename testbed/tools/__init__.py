"""What looks after the lab itself; the core never imports it."""
