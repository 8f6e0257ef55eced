"""What decides a packet's fate: pure functions of packets and time; no clock, no socket."""
