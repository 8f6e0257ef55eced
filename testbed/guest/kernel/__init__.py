"""Builds and boots the guest kernel, independently of calls, censors and scenarios."""
