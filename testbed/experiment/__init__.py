"""What people write, and the cells it unfolds into."""
