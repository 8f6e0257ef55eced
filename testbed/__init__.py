"""A lab that measures which transport keeps a voice call usable under a censor's restriction."""

__version__ = "0.1.0"
