"""The guest kernel: builds it and boots it; nothing here knows of calls, censors or scenarios."""
