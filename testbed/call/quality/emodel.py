"""Rate a call with the ITU-T E-model, on its narrowband, wideband and fullband scales.

The E-model sums up impairments: R = R0 - Idd - Ie,eff, where R0 is the rating of an undisturbed
call, Idd what the delay costs, and Ie,eff what the codec and the packet loss cost together
(`rate`). A codec has its own entry (Ie and Bpl), measured for one scale only. Ratings on different
scales are never compared. Sources: ITU-T G.107 (narrowband), G.107.1 (wideband), G.107.2
(fullband), and G.113 for codec entries.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cache
from math import log2, log10, sqrt


class Scale(Enum):
    """The audio bandwidth of a rating. The value is R's nominal maximum over narrowband's.

    Narrowband: ITU-T G.107. Wideband: G.107.1, R to 129. Fullband: G.107.2, R to 148.
    """

    NARROWBAND = 1.00
    WIDEBAND = 1.29
    FULLBAND = 1.48


class Sensitivity(Enum):
    """How sensitive the talkers are to delay: (s, mT in ms) of ITU-T G.107 (2015), table 1."""

    DEFAULT = (1.0, 100.0)
    LOW = (0.55, 120.0)
    VERY_LOW = (0.4, 150.0)


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec's entry: Ie and Bpl, valid on one scale only.

    `equipment_impairment` is Ie (Ie,wb, Ie,fb); `loss_robustness` is Bpl in percent; `source` says
    where the entry was published. `stands_for` names a codec for which it is only a proxy.
    """

    name: str
    scale: Scale
    equipment_impairment: float
    loss_robustness: float
    source: str
    stands_for: str | None = None

    @property
    def label(self) -> str:
        """The name to print, with the codec it is a proxy for."""
        return f"{self.name} as proxy for {self.stands_for}" if self.stands_for else self.name


G711_PLC = Codec("G.711 with PLC", Scale.NARROWBAND, 0.0, 25.1, "ITU-T G.113, appendix I")
G729A_VAD = Codec("G.729A with VAD", Scale.NARROWBAND, 11.0, 19.0, "ITU-T G.113, appendix I")
AMR_WB_12_65 = Codec(
    "AMR-WB 12.65 kbit/s, diotic", Scale.WIDEBAND, 20.0, 4.3, "ITU-T G.113, appendix IV"
)
EVS_SWB_24_4 = Codec("EVS SWB 24.4 kbit/s", Scale.FULLBAND, 7.2, 11.4, "ITU-T G.113, Ie,fb")
OPUS_PROXY = Codec(
    EVS_SWB_24_4.name,
    EVS_SWB_24_4.scale,
    EVS_SWB_24_4.equipment_impairment,
    EVS_SWB_24_4.loss_robustness,
    EVS_SWB_24_4.source + "; the ITU has published no entry for Opus",
    stands_for="Opus 24 kbit/s",
)


@dataclass(frozen=True, slots=True)
class Rating:
    """A transmission rating R on its scale. Ratings on different scales are never compared."""

    r: float
    scale: Scale

    @property
    def r_100(self) -> float:
        """R on the 0-to-100 scale of G.107: R/1.29 for wideband, R/1.48 for fullband.

        For thresholds and for the MOS only (G.107.1 and G.107.2, annex on MOS). It says how good a
        call is for its bandwidth, and does not make ratings on two scales comparable.
        """
        return self.r / self.scale.value

    @property
    def mos(self) -> float:
        """Conversational MOS, 1 to 4.5, by the Recommendation of the rating's own scale.

        This is MOS-CQE of ITU-T G.107, annex B; print it only with the scale's name.
        """
        return mos_of_r_100(self.r_100)

    def __lt__(self, other: object) -> bool:
        """Return whether this is the lower of two ratings.

        Raises:
            ValueError: The scales differ.
        """
        if not isinstance(other, Rating):
            return NotImplemented
        if other.scale is not self.scale:
            raise ValueError(f"{self.scale.name} and {other.scale.name} ratings do not compare")
        return self.r < other.r


def mos_of_r_100(r_100: float) -> float:
    """Return the MOS-CQE, 1 to 4.5, for an R from 0 to 100 (ITU-T G.107, annex B, equation B-4).

    The polynomial dips below 1 for an R under 6.5; the result is at least 1.
    """
    if r_100 <= 0:
        return 1.0
    if r_100 >= 100:
        return 4.5
    return max(1 + 0.035 * r_100 + r_100 * (r_100 - 60) * (100 - r_100) * 7e-6, 1.0)


def burst_ratio(*, mean_burst_length: float, loss_percent: float) -> float:
    """Return BurstR: the mean burst length over that of random loss at the same rate.

    It is 1 for random loss and 1/(p + q) for a Gilbert channel (ITU-T G.107, clause 7.5). If
    everything is lost, it is 1: there is one burst, as long as the observation. Lengths are in
    packets.

    Raises:
        ValueError: The length is below 1, or the loss is outside 0 to 100 percent.
    """
    if mean_burst_length < 1 or not 0 <= loss_percent <= 100:
        raise ValueError("a burst has at least one packet, and a loss is 0 to 100 percent")
    return 1.0 if loss_percent == 100 else mean_burst_length * (1 - loss_percent / 100)


def effective_impairment(codec: Codec, *, loss_percent: float, burst_ratio: float = 1.0) -> float:
    """Return Ie,eff: the codec's impairment with packet loss, in R on the codec's scale.

    `loss_percent` is Ppl, 0 to 100: what the jitter buffer concealed, late frames included.
    Narrowband is G.107, equation 7-29, with 95 as the ceiling and BurstR. Wideband (G.107.1, 95)
    and fullband (G.107.2, 132) are defined without BurstR. The 132 comes from a secondary source,
    not from G.107.2 itself; it reproduces the published EVS values.

    Raises:
        ValueError: The loss is outside 0 to 100, BurstR is not positive, or BurstR differs from 1
            on a scale other than narrowband.
    """
    if not 0 <= loss_percent <= 100:
        raise ValueError(f"a loss is 0 to 100 percent, not {loss_percent}")
    if burst_ratio <= 0:
        raise ValueError(f"BurstR is positive, not {burst_ratio}")
    if burst_ratio != 1.0 and codec.scale is not Scale.NARROWBAND:
        raise ValueError(f"BurstR is defined for narrowband, not for {codec.scale.name.lower()}")
    ceiling = 132.0 if codec.scale is Scale.FULLBAND else 95.0
    share = loss_percent / (loss_percent / burst_ratio + codec.loss_robustness)
    return codec.equipment_impairment + (ceiling - codec.equipment_impairment) * share


def delay_impairment(
    delay_ms: float,
    *,
    scale: Scale = Scale.NARROWBAND,
    sensitivity: Sensitivity = Sensitivity.DEFAULT,
) -> float:
    """Return Idd: what the absolute one-way mouth-to-ear delay Ta costs, in R on the scale.

    ITU-T G.107 (2015), equations 7-27 and 7-28. The factors of 1.29 for wideband and 1.48 for
    fullband come from a secondary source, not from G.107.1 and G.107.2 themselves.

    Raises:
        ValueError: The delay is negative.
    """
    if delay_ms < 0:
        raise ValueError(f"a delay is not negative: {delay_ms} ms")
    s, tolerated_ms = sensitivity.value
    if delay_ms <= tolerated_ms:
        return 0.0
    x = log2(delay_ms / tolerated_ms)
    power = 6 * s
    idd: float = 25 * (
        (1 + x**power) ** (1 / power) - 3 * (1 + (x / 3) ** power) ** (1 / power) + 2
    )
    return idd * scale.value


def rate(
    codec: Codec,
    *,
    loss_percent: float,
    delay_ms: float,
    burst_ratio: float = 1.0,
    sensitivity: Sensitivity = Sensitivity.DEFAULT,
) -> Rating:
    """Return the rating of a call with this codec, on the codec's scale.

    R = R0 - Idd - Ie,eff, with every other parameter at its default and echo cancelled: R0 is
    93.2 (G.107), 129 (G.107.1) or 148 (G.107.2). Advantage A is 0. Units and errors are those of
    `effective_impairment` and `delay_impairment`.
    """
    r = (
        undisturbed_r(codec.scale)
        - delay_impairment(delay_ms, scale=codec.scale, sensitivity=sensitivity)
        - effective_impairment(codec, loss_percent=loss_percent, burst_ratio=burst_ratio)
    )
    return Rating(r, codec.scale)


def undisturbed_r(scale: Scale) -> float:
    """Return R without delay, loss or codec impairment: 93.2062, 129 or 148."""
    if scale is Scale.NARROWBAND:
        return _narrowband_default_r()
    return 129.0 if scale is Scale.WIDEBAND else 148.0


@cache
def _narrowband_default_r() -> float:
    """Return R of ITU-T G.107 (2015), clause 7, with all parameters at their defaults.

    The equations come from a secondary source, without the delay and echo terms that vanish at
    zero delay; the result is the published 93.2.
    """
    slr, rlr, stmr, lstr = 8.0, 2.0, 15.0, 18.0  # loudness and masking ratings, dB
    ds, telr, wepl = 3.0, 65.0, 110.0  # D-factor, echo loss ratings, dB
    nc, nfor, ps, pr, qdu = -70.0, -64.0, 35.0, 35.0, 1.0  # dBm0p, dBmp, dB(A), dB(A), units
    olr = slr + rlr
    nos = ps - slr - ds - 100 + 0.004 * (ps - olr - ds - 14) ** 2
    pre = pr + 10 * log10(1 + 10 ** ((10 - lstr) / 10))
    nor = rlr - 121 + pre + 0.008 * (pre - 35) ** 2
    no = 10 * log10(sum(10 ** (noise / 10) for noise in (nc, nos, nor, nfor + rlr)))
    ro = 15 - 1.5 * (slr + no)
    return (
        ro
        - _simultaneous_impairment(ro=ro, no=no, olr=olr, rlr=rlr, stmr=stmr, telr=telr, qdu=qdu)
        - _echo(ro, rlr, wepl)
    )


def _simultaneous_impairment(
    *, ro: float, no: float, olr: float, rlr: float, stmr: float, telr: float, qdu: float
) -> float:
    """Return Is = Iolr + Ist + Iq (G.107, clause 7.3) at zero delay."""
    xolr = olr + 0.2 * (64 + no - rlr)
    iolr: float = 20 * ((1 + (xolr / 8) ** 8) ** (1 / 8) - xolr / 8)
    stmro = -10 * log10(10 ** (-stmr / 10) + 10 ** (-telr / 10))
    ist: float = (
        12 * (1 + ((stmro - 13) / 6) ** 8) ** (1 / 8)
        - 28 * (1 + ((stmro + 1) / 19.4) ** 35) ** (1 / 35)
        - 13 * (1 + ((stmro - 3) / 33) ** 13) ** (1 / 13)
        + 29
    )
    q = 37 - 15 * log10(qdu)
    g = 1.07 + 0.258 * q + 0.0602 * q**2
    y = (ro - 100) / 15 + 46 / 8.4 - g / 9
    z = 46 / 30 - g / 40
    return iolr + ist + 15 * log10(1 + 10**y + 10**z)


def _echo(ro: float, rlr: float, wepl: float) -> float:
    """Return Idle, the listener echo (G.107, clause 7.4); the talker echo is 0 at zero delay."""
    rle = 10.5 * (wepl + 7)
    return (ro - rle) / 2 + sqrt((ro - rle) ** 2 / 4 + 169)
