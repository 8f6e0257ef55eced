"""Measures in captures what was done to a call, and writes it down as a censor profile.

The steps are plain data from end to end:

    capture files ─> flows (`reading`) ─> passages (`passages`, `pairing`) ─> findings ─> profile

- A *passage* is what is known of one stream in one direction: when each packet was sent, how large
  it was, and when it arrived, if it did. With captures of both ends it is read off; with one end it
  is put together from sequence numbers that are in clear (RTP's, which SRTP does not hide,
  WireGuard's, DTLS').
- Estimators (`loss_patterns`, `token_bucket`, `queueing`, `timing`, `cut_offs`, `tcp_streams`) are
  pure functions of such columns. Each number comes with a 95 % interval and with how it was found;
  what a passage cannot show is said, too.
- `diagnosis` picks the findings that explain a passage, `controls` compares them with a recording
  of traffic that nobody had a reason to disturb, and `profile_file` writes the profile.

Nothing leaves the machine: no function here opens a socket or resolves a name.
"""
