"""The lab image: the root file system of guests, made from a lock file."""
