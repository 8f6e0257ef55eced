"""What `fit` does with a browser's counters and with OONI's measurements, which have no packets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from testbed.cli.console import out, print_json, short
from testbed.experiment.explanations import ScenarioError
from testbed.tools.fitting import ooni, webrtc_dumps
from testbed.tools.fitting.capture_reading import sha256_of
from testbed.tools.fitting.dump_profile import profile_of_counters
from testbed.tools.fitting.profile_file import as_toml


def is_without_packets(path: Path) -> bool:
    """Return whether a file holds counters or events in place of packets."""
    return webrtc_dumps.is_dump(path)


def fit_dump(
    path: Path,
    profile_out: Path | None,
    others: Mapping[str, object],
    *,
    today: str,
    as_json: bool,
) -> None:
    """Print what counters or events show, and write the profile of counters.

    Raises:
        ScenarioError: One of the `others`, options that need packets, was given.
        CaptureError: The file cannot be read.
    """
    if given := [name for name, value in others.items() if value]:
        raise ScenarioError(f"{path} has no packets, which {given[0]} needs: give a capture")
    if ooni.is_measurement(path):
        if profile_out is not None:
            raise ScenarioError(f"{path} has events of connections, from which no profile follows")
        _print_measurements(path, as_json=as_json)
        return
    found = webrtc_dumps.read_dump(path)
    if profile_out is not None:
        title = "Fitted to a browser's counters"
        made = profile_of_counters(found, sha256_of(path), title=title, today=today)
        profile_out.write_text(as_toml(made))
    if as_json:
        print_json(found)
        return
    out.print(webrtc_dumps.headline(found), markup=False)
    out.print(webrtc_dumps.table(found))
    out.print(webrtc_dumps.LEGEND, style="dim")
    if profile_out is not None:
        out.print(f"Wrote {short(profile_out)}", markup=False)


def _print_measurements(path: Path, *, as_json: bool) -> None:
    found = ooni.read_measurements(path)
    if as_json:
        print_json(found)
        return
    out.print(ooni.headline(found), markup=False)
    out.print(ooni.table(found))
    out.print(ooni.LEGEND, style="dim")
