"""Produces and judges a call as functions of data and time; no clock, no socket, no lab here."""
