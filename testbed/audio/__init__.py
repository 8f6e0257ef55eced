"""Sound as samples: the Opus codec, concealment of gaps, time stretching, speech and test tones."""
