"""Tools that measure and check the lab itself; the core never imports them."""
