"""Lexicons: the presets are what they say, a user's own is checked, every mistake is one line."""

import json

import pytest

from behavior.finding import Finder
from behavior.lexicon import load_lexicon, preset_names
from prerl_eval.errors import UserError

HEAD = 'name = "mine"\nversion = "1"\nsource = "me"\nrule = "mine"\nunit = "occurrences"\n'


@pytest.fixture
def write(tmp_path):
    def write(content):
        file = tmp_path / "mine.toml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(file)

    return write


def test_presets_and_their_units():
    assert preset_names() == ["seal", "oat-zero", "r1-zero", "simplerl", "underthinking"]
    units = {name: load_lexicon(name).unit for name in preset_names()}
    assert units == {
        "seal": "thoughts",
        "oat-zero": "occurrences",
        "r1-zero": "presence",
        "simplerl": "occurrences",
        "underthinking": "occurrences",
    }
    for name in preset_names():
        lexicon = load_lexicon(name)
        assert lexicon.name == name
        assert all((lexicon.version, lexicon.source, lexicon.rule))


def test_seal_is_the_default_and_states_its_rule():
    seal = load_lexicon()
    assert seal.name == "seal"
    assert list(seal.labels) == ["reflection", "transition"]
    assert [p.text for p in seal.labels["reflection"] if p.at == "start"] == ["wait"]
    assert [p.text for p in seal.labels["transition"] if p.at == "start"] == ["alternatively"]
    assert {p.text for _, p in seal.entries()} >= {"'s correct", "think differently", "another technique"}
    assert len(seal.entries()) == 17


@pytest.mark.parametrize(
    ("name", "count"), [("oat-zero", 8), ("r1-zero", 15), ("simplerl", 7), ("underthinking", 1)]
)
def test_sizes_of_the_other_presets(name, count):
    assert len(load_lexicon(name).entries()) == count


def test_fingerprints_tell_lexicons_apart(write):
    prints = {load_lexicon(name).fingerprint() for name in preset_names()}
    assert len(prints) == 5
    same = load_lexicon(write(HEAD + '[labels]\ntransition = ["Alternatively"]\n'))
    assert same.fingerprint() == load_lexicon("underthinking").fingerprint()


def test_an_own_lexicon_is_normalised_and_found(write):
    path = write(HEAD + '[labels]\ndoubt = ["Hold\\n on", "re\u2011think", {phrase = "HMM", at = "start"}]\n')
    lexicon = load_lexicon(path)
    assert [(p.text, p.at) for _, p in lexicon.entries()] == [
        ("hold on", "anywhere"),
        ("re-think", "anywhere"),
        ("hmm", "start"),
    ]
    assert Finder(lexicon).count("Hold  on. Re-think! hmm")["re-think"] == 1


def test_scripts_without_spaces_have_no_boundaries(write):
    path = write(HEAD + '[labels]\nreflection = ["检查", "待って", "wait"]\n')
    counts = Finder(load_lexicon(path)).count("我再检查一下。ちょっと待ってください wait了")
    assert counts == {"检查": 1, "待って": 1, "wait": 0}


def test_boundaries_can_be_switched_off(write):
    path = write(HEAD + 'boundaries = false\n[labels]\nreflection = ["wait"]\n')
    assert Finder(load_lexicon(path)).count("waiting wait了") == {"wait": 2}


def test_a_copy_of_a_preset_may_keep_its_name(write):
    seal = load_lexicon("seal")
    rows = [
        f"{key} = {json.dumps(getattr(seal, key))}\n" for key in ("name", "version", "source", "rule", "unit")
    ]
    rows += ["[labels]\n"]
    for label, phrases in seal.labels.items():
        listed = ", ".join(f"{{phrase = {json.dumps(p.text)}, at = {json.dumps(p.at)}}}" for p in phrases)
        rows += [f"{label} = [{listed}]\n"]
    assert load_lexicon(write("".join(rows))) == seal


MISTAKES = {
    "no TOML": ("labels = [", "is not TOML"),
    "not UTF-8": (HEAD.encode() + b"# \xff\n", "not UTF-8 text (byte"),
    "no source": (HEAD.replace('source = "me"\n', "") + '[labels]\na = ["b"]', "has no 'source'"),
    "no labels": (HEAD, "has no 'labels'"),
    "empty labels": (HEAD + "[labels]\n", "is empty"),
    "labels no table": (HEAD + 'labels = ["a"]\n', "is empty"),
    "empty label": (HEAD + "[labels]\na = []", "label 'a' has no phrases"),
    "empty phrase": (HEAD + '[labels]\na = [" \\n"]', "label 'a' has an empty phrase"),
    "invisible phrase": (HEAD + '[labels]\na = ["\u200b"]', "label 'a' has an empty phrase"),
    "number": (HEAD + "[labels]\na = [3]", "label 'a' lists 3"),
    "number as phrase": (HEAD + "[labels]\na = [{phrase = 3}]", "empty phrase 3"),
    "unknown phrase key": (HEAD + '[labels]\na = [{phrase = "b", where = "start"}]', "label 'a' lists"),
    "wrong place": (HEAD + '[labels]\na = [{phrase = "b", at = "end"}]', "at is 'end' for 'b'"),
    "unit": (HEAD.replace("occurrences", "words") + '[labels]\na = ["b"]', "unit is 'words'"),
    "version no text": (HEAD.replace('"1"', "1") + '[labels]\na = ["b"]', "version is 1"),
    "unknown key": (HEAD + 'units = "x"\n[labels]\na = ["b"]', "unknown key 'units'"),
    "boundaries": (HEAD + 'boundaries = "no"\n[labels]\na = ["b"]', "boundaries is 'no'"),
    "name": (HEAD.replace("mine", "my list", 1) + '[labels]\na = ["b"]', "name 'my list'"),
    "name of a preset": (
        HEAD.replace("mine", "seal", 1) + '[labels]\na = ["b"]',
        "name of the preset 'seal'",
    ),
    "twice": (HEAD + '[labels]\na = ["Hold on", "x"]\nb = ["hold  on"]', "'hold on' twice, in 'a' and 'b'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_that_names_the_file(write, mistake):
    content, said = MISTAKES[mistake]
    path = write(content)
    with pytest.raises(UserError) as raised:
        load_lexicon(path)
    message = str(raised.value)
    assert said in message
    assert path in message
    assert "\n" not in message


def test_an_unknown_preset_names_those_there_are(tmp_path):
    with pytest.raises(
        UserError, match="no lexicon 'sael': presets are seal, oat-zero, r1-zero, simplerl, under"
    ):
        load_lexicon("sael")
    with pytest.raises(UserError, match="presets are"):
        load_lexicon(str(tmp_path))
