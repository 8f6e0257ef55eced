"""The transport conformance suite: rules that every transport must obey, tested in guests."""
