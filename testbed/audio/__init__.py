"""Samples and codec: Opus, concealment, time stretching, speech clips."""
