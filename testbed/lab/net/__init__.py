"""Namespaces, links and clocks: the network as the kernel has it."""
