"""Marks of tests that need something which is not there everywhere."""

from __future__ import annotations

import pytest

from testbed.audio.opus import SPEECH_FOLDER

needs_speech = pytest.mark.skipif(
    not SPEECH_FOLDER.is_dir(), reason="needs the package pocketsphinx-testdata"
)
