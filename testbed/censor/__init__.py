"""The censor: pure functions of packets and time that decide what happens to each packet."""
