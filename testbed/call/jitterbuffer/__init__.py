"""The adaptive jitter buffer, after WebRTC's NetEq."""
