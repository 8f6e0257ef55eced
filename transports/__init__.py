"""The transports that come with the testbed: one module each, with a class named `Transport`."""
