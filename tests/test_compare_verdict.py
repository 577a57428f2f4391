"""Verdicts: what may be said of given figures, and what may not."""

import pytest

from prerl_eval.comparison.verdict import p_value, points, verdict

UNSEEN = {"claimed": False, "k": None, "low": None, "high": None, "p_none": 0.8, "note": ""}
CROSSING = {"claimed": True, "k": 7, "low": 5, "high": 12, "p_none": 0.0123, "note": ""}


def entry(avg=(0.10, 0.05, 0.15, 0.001), band=((0.1, 0.05, 0.15), (0.02, -0.05, 0.09)), **changes):
    """avg: difference, low, high, Holm's p. band: (difference, low, high) for k = 1, 2, ...; n = 4 k."""
    difference, low, high, p = avg
    return {
        "avg": {"difference": difference, "ci": [low, high], "p_holm": p},
        "pass": {
            "k": list(range(1, len(band) + 1)),
            "difference": [value for value, _, _ in band],
            "band": [[low, high] for _, low, high in band],
            "uncertain": [4 * k > len(band) for k in range(1, len(band) + 1)],
        },
        "crossover": UNSEEN,
        "support": {"matched": None, "null": None, "excess": {}},
    } | changes


def curve(*signs):
    """A band per k: "+" above 0, "-" below, "0" around it."""
    ends = {"+": (0.2, 0.1, 0.3), "-": (-0.2, -0.3, -0.1), "0": (0.0, -0.1, 0.1)}
    return tuple(ends[sign] for sign in signs)


def support(retention=(0.8, 0.9, 0.001), discovery=(0.1, 0.1, 0.9)):
    """Each: the method's share, an unchanged model's, p of their difference."""
    shares = {"retention": retention, "discovery": discovery}
    return {
        "matched": {"m": 16} | {name: {"value": value} for name, (value, _, _) in shares.items()},
        "null": {name: {"value": value} for name, (_, value, _) in shares.items()},
        "excess": {name: {"value": value - luck, "p": p} for name, (value, luck, p) in shares.items()},
    }


def test_numbers_are_signed_and_short():
    assert (points(0.1234), points(-0.05), points(None)) == ("+12.3", "−5.0", "–")
    assert (p_value(0.0004), p_value(0.0123), p_value(None)) == ("p < 0.001", "p = 0.012", "p –")


@pytest.mark.parametrize(
    ("avg", "said"),
    [
        ((0.10, 0.05, 0.15, 0.002), "correct more often (Avg +10.0, p = 0.002)"),
        ((-0.10, -0.15, -0.05, 0.0002), "correct less often (Avg −10.0, p < 0.001)"),
        ((0.03, -0.01, 0.07, 0.08), "no difference in Avg seen (+3.0, 95% −1.0 to +7.0)"),
        (
            (0.03, 0.001, 0.06, 0.08),
            "no difference in Avg seen after correction for several tests (+3.0, 95% +0.1 to +6.0)",
        ),
        ((0.03, None, None, None), "Avg +3.0, too few problems to say more"),
    ],
)
def test_avg_is_called_different_by_its_corrected_p_alone(avg, said):
    assert verdict(entry(avg)).split("; ")[0] == said


@pytest.mark.parametrize(
    ("signs", "said"),
    [
        (
            "++++0000",
            "more problems solved in up to 4 samples (Pass@2 +20.0), beyond that no difference seen",
        ),
        ("+0000000", "no difference in Pass@8 seen (+0.0, band −10.0 to +10.0)"),
        ("++00000-", "fewer problems solved in many samples (~Pass@8 −20.0)"),
        ("+-------", "fewer problems solved in many samples (Pass@2 −20.0)"),
        ("++++++++", "more problems solved in many samples (Pass@2 +20.0)"),
        (
            "-----000",
            "fewer problems solved in up to 5 samples (Pass@2 −20.0), beyond that no difference seen",
        ),
        (
            "+000---0",
            "fewer problems solved in 5 to 7 samples (~Pass@7 −20.0), beyond that no difference seen",
        ),
        (
            "00+00000",
            "more problems solved in 3 samples (~Pass@3 +20.0), beyond that no difference seen",
        ),
    ],
)
def test_many_samples_are_judged_by_the_band_and_by_certain_k_first(signs, said):
    assert verdict(entry(band=curve(*signs))).split("; ")[1] == said


def test_one_sample_has_no_curve():
    assert verdict(entry(band=curve("+"))) == "correct more often (Avg +10.0, p = 0.001)"


def test_a_crossing_is_told_as_one_only_where_it_is_claimed():
    told = verdict(entry(crossover=CROSSING))
    assert told.endswith("; the curves cross at k = 7 (5–12, chance of none 1.2%)")
    late = verdict(entry(crossover=CROSSING | {"note": "the later side is seen at k > n/4 only"}))
    assert late.endswith("(5–12, chance of none 1.2%, the later side is seen at k > n/4 only)")
    doubted = verdict(entry(crossover=UNSEEN | {"k": 7, "p_none": 0.4}))
    assert doubted.endswith("; a crossing at k = 7 is not certain (chance of none 40.0%)")
    assert "cross" not in verdict(entry(crossover=UNSEEN))


def test_luck_is_not_told_as_loss_or_discovery():
    lost = verdict(entry(support=support()))
    assert lost.endswith(
        "; keeps 80.0% of the problems that the base solves in 16 samples (unchanged: 90.0%)"
    )
    assert "keeps" not in verdict(entry(support=support(retention=(0.8, 0.9, 0.3))))
    found = verdict(entry(support=support(discovery=(0.3, 0.1, 0.001))))
    assert found.endswith("30.0% of the problems that it solves in 16 samples are new (unchanged: 10.0%)")
    assert "new" not in verdict(entry(support=support(discovery=(0.05, 0.1, 0.001))))
