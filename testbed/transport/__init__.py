"""What the author of a transport may import: the interface, channels, tunnels and protocols."""
