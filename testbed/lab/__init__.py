"""Builds nodes and links, owns sockets, processes, namespaces and clocks; judges nothing."""
