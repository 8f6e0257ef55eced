"""The lab's network as the kernel sees it: namespaces, links, queueing, sockets and the clock."""
