"""Lives here: the published check values of the E-model; no thresholds of ours."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.call.quality.emodel import (
    AMR_WB_12_65,
    EVS_SWB_24_4,
    G711_PLC,
    G729A_VAD,
    OPUS_PROXY,
    Codec,
    Rating,
    Scale,
    Sensitivity,
    burst_ratio,
    delay_impairment,
    effective_impairment,
    mos_of_r_100,
    rate,
    undisturbed_r,
)

CODECS = [G711_PLC, G729A_VAD, AMR_WB_12_65, EVS_SWB_24_4, OPUS_PROXY]


def test_narrowband_defaults_give_the_published_rating() -> None:
    rating = Rating(undisturbed_r(Scale.NARROWBAND), Scale.NARROWBAND)
    assert rating.r == pytest.approx(93.2062, abs=5e-5)
    assert rating.mos == pytest.approx(4.4094, abs=5e-5)


@pytest.mark.parametrize(
    ("r", "mos"),
    [(90, 4.339), (80, 4.024), (70, 3.597), (60, 3.100), (50, 2.575), (0, 1), (-9, 1), (100, 4.5)],
)
def test_mos_of_r(r: float, mos: float) -> None:
    assert mos_of_r_100(r) == pytest.approx(mos, abs=5e-4)


@pytest.mark.parametrize(
    ("delay_ms", "idd"), [(100, 0), (150, 0.164), (200, 3.044), (300, 14.761), (400, 24.070)]
)
def test_delay_impairment(delay_ms: float, idd: float) -> None:
    assert delay_impairment(delay_ms) == pytest.approx(idd, abs=5e-4)
    for scale in Scale:
        assert delay_impairment(delay_ms, scale=scale) == pytest.approx(idd * scale.value, abs=1e-3)


@pytest.mark.parametrize(
    ("sensitivity", "tolerated_ms"),
    [(Sensitivity.DEFAULT, 100), (Sensitivity.LOW, 120), (Sensitivity.VERY_LOW, 150)],
)
def test_delay_costs_nothing_up_to_what_the_talk_tolerates(
    sensitivity: Sensitivity, tolerated_ms: float
) -> None:
    assert delay_impairment(tolerated_ms, sensitivity=sensitivity) == 0
    assert delay_impairment(2 * tolerated_ms, sensitivity=sensitivity) > 0


def test_less_sensitive_talk_suffers_less() -> None:
    costs = [delay_impairment(300, sensitivity=sensitivity) for sensitivity in Sensitivity]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > costs[1] > costs[2]


@pytest.mark.parametrize(
    ("codec", "loss_percent", "r"),
    [
        (G711_PLC, 5, 77.42),
        (G711_PLC, 10, 66.13),
        (G711_PLC, 20, 51.07),
        (G729A_VAD, 5, 64.70),
    ],
)
def test_narrowband_codecs_under_random_loss(codec: Codec, loss_percent: float, r: float) -> None:
    # The published values start from R = 93.2; ours is 93.2062.
    assert rate(codec, loss_percent=loss_percent, delay_ms=0).r == pytest.approx(r, abs=0.011)


def test_wideband_codec_under_loss() -> None:
    assert effective_impairment(AMR_WB_12_65, loss_percent=2) == pytest.approx(43.8095, abs=5e-5)
    rating = rate(AMR_WB_12_65, loss_percent=2, delay_ms=0)
    assert rating.mos == pytest.approx(3.4062, abs=5e-5)


@pytest.mark.parametrize(("ie", "mos"), [(13, 4.3371), (41, 3.5123), (56, 2.9220)])
def test_wideband_impairments_alone(ie: float, mos: float) -> None:
    assert Rating(129.0 - ie, Scale.WIDEBAND).mos == pytest.approx(mos, abs=5e-5)


@pytest.mark.parametrize(
    ("loss_percent", "mos"), [(0, 4.444), (5, 3.570), (10, 2.877), (20, 2.134)]
)
@pytest.mark.parametrize("codec", [EVS_SWB_24_4, OPUS_PROXY])
def test_fullband_codec_under_loss(codec: Codec, loss_percent: float, mos: float) -> None:
    rating = rate(codec, loss_percent=loss_percent, delay_ms=0)
    assert rating.mos == pytest.approx(mos, abs=5e-4)


def test_fullband_rating_on_the_scale_of_thresholds() -> None:
    rating = rate(OPUS_PROXY, loss_percent=0, delay_ms=0)
    assert rating.r == pytest.approx(140.8)
    assert rating.r_100 == pytest.approx(95.135, abs=5e-4)


def test_the_proxy_says_what_it_is() -> None:
    assert OPUS_PROXY.label == "EVS SWB 24.4 kbit/s as proxy for Opus 24 kbit/s"
    assert EVS_SWB_24_4.label == "EVS SWB 24.4 kbit/s"


def test_bursts_hurt_more_than_random_loss() -> None:
    bursts = burst_ratio(mean_burst_length=2, loss_percent=10)
    assert bursts == pytest.approx(1.8)
    scattered = effective_impairment(G711_PLC, loss_percent=10)
    # 95 * 10 / (10 / 1.8 + 25.1)
    assert effective_impairment(G711_PLC, loss_percent=10, burst_ratio=bursts) == pytest.approx(
        30.9895, abs=1e-4
    )
    assert scattered == pytest.approx(27.0655, abs=1e-4)


def test_if_all_is_lost_nothing_is_left_of_a_rating() -> None:
    assert burst_ratio(mean_burst_length=700, loss_percent=100) == 1
    assert rate(G711_PLC, loss_percent=100, delay_ms=0, burst_ratio=1).r < 20


def test_scales_are_never_mixed() -> None:
    wideband = rate(AMR_WB_12_65, loss_percent=0, delay_ms=0)
    fullband = rate(EVS_SWB_24_4, loss_percent=0, delay_ms=0)
    with pytest.raises(ValueError, match="do not compare"):
        sorted([wideband, fullband])
    with pytest.raises(ValueError, match="do not compare"):
        assert wideband > fullband
    assert rate(EVS_SWB_24_4, loss_percent=5, delay_ms=0) < fullband
    with pytest.raises(ValueError, match="BurstR"):
        effective_impairment(EVS_SWB_24_4, loss_percent=5, burst_ratio=2)


@pytest.mark.parametrize("loss_percent", [-0.1, 100.1])
def test_impossible_loss_is_refused(loss_percent: float) -> None:
    with pytest.raises(ValueError, match="percent"):
        effective_impairment(G711_PLC, loss_percent=loss_percent)


def test_impossible_delay_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        delay_impairment(-1)


@settings(deadline=None)
@given(
    codec=st.sampled_from(CODECS),
    loss=st.floats(0, 100),
    more_loss=st.floats(0, 100),
    delay=st.floats(0, 5000),
    more_delay=st.floats(0, 5000),
)
def test_a_worse_network_never_sounds_better(
    codec: Codec, loss: float, more_loss: float, delay: float, more_delay: float
) -> None:
    better = rate(codec, loss_percent=min(loss, more_loss), delay_ms=min(delay, more_delay))
    worse = rate(codec, loss_percent=max(loss, more_loss), delay_ms=max(delay, more_delay))
    assert worse.r <= better.r + 1e-9
    assert 1 <= worse.mos <= better.mos + 1e-9 <= 4.5 + 1e-9
