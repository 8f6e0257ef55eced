"""What a node offers to programs: processes, sockets, captures, counters."""
