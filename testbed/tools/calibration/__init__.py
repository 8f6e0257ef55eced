"""Calibrates censor profiles and links: sends known traffic and measures every number again.

For each rule of a profile, `reference` finds a flow to which it applies, `script` writes down an
experiment (packets, times, and which rule should decide about each packet), `in_guest` sends the
packets across a middlebox in a guest, and a `Probe` judges what arrived. The results are numbers
with intervals (`Measurement`) and flows that were or were not treated as expected (`Vector`).
"""
