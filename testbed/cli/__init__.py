"""The commands of the command line: each parses, calls other modules, and prints."""
