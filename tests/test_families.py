"""Every family's config: what it reads and writes comes back the same, and what it cannot say is refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models import official_config
from phantom_edge.models.config import RELEASED_ETA, PhantomConfig, PhantomTextConfig
from phantom_edge.models.families import FAMILIES, family_named

GOLDEN = Path(__file__).parent / "golden"
SHAPE = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
}
SU = {"type": "su", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}


def read(family: str, **changes: Any) -> PhantomTextConfig:
    return PhantomTextConfig(**FAMILIES[family].read(SHAPE | changes))


REFUSED_READING: list[tuple[str, dict[str, Any], str]] = [
    *(
        (family, {"rope_scaling": {"type": "wild"}}, f"rope scaling 'wild' is unknown for {family}")
        for family in FAMILIES
    ),
    *((family, {"rope_scaling": [1]}, r"rope_scaling is \[1\]") for family in FAMILIES),
    *((family, {"rope_parameters": {"rope_theta": 5.0}}, "has rope_parameters") for family in FAMILIES),
    *((family, {"hidden_act": "gelu"}, "hidden_act is 'gelu'") for family in FAMILIES),
    *((family, {"head_dim": 4}, "head_dim is 4, Phantom has 8") for family in FAMILIES),
    *((family, {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5") for family in FAMILIES),
    *((family, {"num_attention_heads": 3}, "hidden_size 16 is not a multiple of 3") for family in FAMILIES),
    *((family, {"num_attention_heads": "2"}, "num_attention_heads is 2") for family in FAMILIES),
    *((family, {"num_attention_heads": 0}, "num_attention_heads is 0") for family in FAMILIES),
    ("qwen2", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope scaling 'linear' is unknown"),
    ("qwen2", {"use_sliding_window": True, "max_window_layers": 0}, "use_sliding_window"),
    ("qwen2", {"use_sliding_window": True, "max_window_layers": 2}, "use_sliding_window"),
    ("qwen2", {"use_sliding_window": True, "max_window_layers": 28}, "use_sliding_window"),
    ("internlm2", {"bias": True}, "InternLM2 with biases"),
    ("internlm2", {"rope_scaling": SU}, "rope scaling 'su' is unknown"),
    ("phi3", {"attention_bias": True}, "Phi-3 with biases"),
    ("phi3", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope scaling 'dynamic' is unknown"),
    ("phi3", {"rope_scaling": SU}, "needs original_max_position_embeddings"),
    ("phi3", {"rope_scaling": SU | {"type": "yarn"}, "original_max_position_embeddings": 0}, "is 0"),
    ("phi3", {"sliding_window": -1}, "sliding_window is 0"),
    ("phi3", {"sliding_window": -9}, "sliding_window is -8"),
]


@pytest.mark.parametrize(("family", "changes", "message"), REFUSED_READING)
def test_what_is_not_computed_is_not_read(family: str, changes: dict[str, Any], message: str) -> None:
    read(family)
    with pytest.raises(EdgeError, match=message) as caught:
        read(family, **changes)
    assert caught.value.remedy


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "key", ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"]
)
def test_a_missing_number_is_named(family: str, key: str) -> None:
    with pytest.raises(EdgeError, match=f"llm_config lacks {key}"):
        FAMILIES[family].read({name: value for name, value in SHAPE.items() if name != key})


def test_an_unknown_family() -> None:
    with pytest.raises(EdgeError, match="mamba"):
        family_named("mamba")


PLAIN = {"rope_type": "default", "rope_theta": 1e4}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0] * 4,
    "long_factor": [2.0] * 4,
    "original_max_position_embeddings": 16,
}
REFUSED_WRITING: list[tuple[str, dict[str, Any], str]] = [
    *((family, {"head_dim": 4}, "head_dim 4 x 2 heads is not hidden_size 16") for family in FAMILIES),
    *(
        ("qwen2", {"rope_parameters": rope}, "Qwen2")
        for rope in (LONG, {**PLAIN, "rope_type": "linear", "factor": 2.0})
    ),
    ("qwen2", {"sliding_window": 5}, "Qwen2"),
    ("qwen2", {"attention_bias": False}, "Qwen2"),
    ("internlm2", {"rope_parameters": LONG}, "InternLM2"),
    ("internlm2", {"rope_parameters": {**PLAIN, "rope_type": "yarn", "factor": 2.0}}, "InternLM2"),
    ("internlm2", {"sliding_window": 5}, "InternLM2"),
    ("internlm2", {"attention_bias": True}, "InternLM2"),
    ("phi3", {"rope_parameters": {**PLAIN, "rope_type": "dynamic", "factor": 2.0}}, "Phi-3"),
    ("phi3", {"attention_bias": True}, "Phi-3"),
    ("phi3", {"rope_parameters": {**LONG, "attention_factor": 1.5}}, "attention_factor of 1.5"),
    ("phi3", {"rope_parameters": {**LONG, "attention_factor": 1.0}}, "attention_factor of 1.0"),
]


@pytest.mark.parametrize(("family", "changes", "message"), REFUSED_WRITING)
def test_what_the_official_layout_cannot_say_is_not_written(family: str, changes: dict[str, Any], message: str) -> None:
    plain = {**SHAPE, "head_dim": 8, "attention_bias": family == "qwen2", "rope_parameters": PLAIN}
    FAMILIES[family].write(PhantomTextConfig(**plain))
    with pytest.raises(EdgeError, match=message) as caught:
        FAMILIES[family].write(PhantomTextConfig(**{**plain, **changes}))
    assert "--to ours" in caught.value.remedy


ratios = st.sampled_from([8, 16, 63, 64, 65])
factors = st.lists(st.floats(0.5, 50), min_size=4, max_size=4)
phi_scaling = st.builds(
    lambda kind, short, long: {"type": kind, "short_factor": short, "long_factor": long},
    st.sampled_from(["su", "longrope", "yarn"]),
    factors,
    factors,
)
intern_scaling = st.builds(
    lambda kind, factor: {"type": kind, "factor": factor}, st.sampled_from(["dynamic", "linear"]), st.floats(0.5, 9)
)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), theta=st.floats(1, 1e7), tied=st.booleans(), original=ratios)
@pytest.mark.parametrize("family", FAMILIES)
def test_reading_what_was_written_gives_the_same(
    family: str, data: st.DataObject, theta: float, tied: bool, original: int
) -> None:
    scaling = {"qwen2": st.none(), "internlm2": st.none() | intern_scaling, "phi3": st.none() | phi_scaling}[family]
    changes: dict[str, Any] = {"rope_theta": theta, "rope_scaling": data.draw(scaling), "tie_word_embeddings": tied}
    if family == "phi3":
        changes["original_max_position_embeddings"] = original
        changes["sliding_window"] = data.draw(st.none() | st.integers(0, 99))
    text = read(family, **changes)
    again = PhantomTextConfig(**FAMILIES[family].read(FAMILIES[family].write(text)))
    assert again.to_dict() == text.to_dict()
    spelled = {"type": "rope_type"}
    if changes["rope_scaling"]:  # later releases spell it otherwise
        renamed = {spelled.get(key, key): value for key, value in changes["rope_scaling"].items()}
        assert read(family, **{**changes, "rope_scaling": renamed}).to_dict() == text.to_dict()


def test_the_scale_of_yarn_and_su() -> None:
    """yarn: 0.1 ln(64 / 16) + 1; su is left to the model, which computes it."""
    longer = {"original_max_position_embeddings": 16}
    yarn = read("phi3", rope_scaling=SU | {"type": "yarn"}, **longer).rope_parameters
    assert yarn is not None and math.isclose(yarn["attention_factor"], 0.1 * math.log(4) + 1)
    for original in (64, 128):
        not_longer = {"original_max_position_embeddings": original}
        yarn = read("phi3", rope_scaling=SU | {"type": "yarn"}, **not_longer).rope_parameters
        assert yarn is not None and yarn["attention_factor"] == 1.0
    su = read("phi3", rope_scaling=SU, **longer).rope_parameters
    assert su is not None and "attention_factor" not in su
    assert read("phi3", rope_scaling={"type": "default"}).rope_parameters == PLAIN


def test_kv_heads_default_to_all_heads_and_the_window_counts_itself() -> None:
    for family in FAMILIES:
        assert read(family, num_key_value_heads=None).num_key_value_heads == 2
    assert read("phi3", sliding_window=7).sliding_window == 8


# the parts that all families share


@pytest.fixture(params=["0_5b-1.0", "1_8b-1.0", "3_8b-1.0"])
def raw(request: pytest.FixtureRequest) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((GOLDEN / request.param / "config.json").read_text())
    return config


def test_pictures_are_cut_as_released_whatever_the_file_says(raw: dict[str, Any]) -> None:
    for changes in ({}, {"min_dynamic_patch": 2, "max_dynamic_patch": 12, "use_thumbnail": False}):
        config = PhantomConfig.from_dict({**raw, **changes})
        assert (config.min_tiles, config.max_tiles, config.use_thumbnail) == (1, 6, True)
        written = official_config.write_config(config)
        assert (written["min_dynamic_patch"], written["max_dynamic_patch"], written["use_thumbnail"]) == (1, 6, True)


@pytest.mark.parametrize("change", [{"min_tiles": 2}, {"max_tiles": 5}, {"max_tiles": 7}, {"use_thumbnail": False}])
def test_pictures_cut_otherwise_cannot_be_official(change: dict[str, Any], raw: dict[str, Any]) -> None:
    config = PhantomConfig.from_dict(raw)
    for name, value in change.items():
        setattr(config, name, value)
    with pytest.raises(EdgeError, match="1 to 6 tiles and a thumbnail"):
        official_config.write_config(config)


@pytest.mark.parametrize(
    ("place", "changes", "message"),
    [
        ("vision_config", {"qk_normalization": True}, "qk_normalization"),
        ("vision_config", {"norm_type": "rms_norm"}, "norm_type"),
        ("vision_config", {"hidden_act": "relu"}, "hidden_act"),
        ("vision_config", {"patch_size": None}, "lacks patch_size"),
        ("vision_config", {"qkv_bias": None}, "lacks qkv_bias"),
        (None, {"force_image_size": 112}, "force_image_size"),
        (None, {"llm_config": 3}, "lacks llm_config or vision_config"),
        (None, {"vision_config": None}, "lacks llm_config or vision_config"),
        (None, {"image_token_index": None}, "lacks image_token_index"),
        ("llm_config", {"rms_norm_eps": None}, "lacks rms_norm_eps"),
    ],
)
def test_what_is_not_a_phantoms_is_refused(
    place: str | None, changes: dict[str, Any], message: str, raw: dict[str, Any]
) -> None:
    target = raw if place is None else raw[place]
    for name, value in changes.items():
        if value is None:
            target.pop(name)
        else:
            target[name] = value
    with pytest.raises(EdgeError, match=message):
        PhantomConfig.from_dict(raw)


def test_ids_and_eta(raw: dict[str, Any]) -> None:
    assert PhantomConfig.from_dict(raw).eta == RELEASED_ETA
    assert PhantomConfig.from_dict({**raw, "eta": 0.25}).eta == 0.25
    config = PhantomConfig.from_dict({**raw, "eos_token_id": 3, "pad_token_id": 4})
    assert (config.eos_token_id, config.pad_token_id, config.image_token_id) == (3, 4, raw["image_token_index"])
    config = PhantomConfig.from_dict({**raw, "eos_token_id": None})
    assert config.eos_token_id == raw["llm_config"]["eos_token_id"]
    written = official_config.write_config(config)
    assert (written["eos_token_id"], written["pad_token_id"]) == (config.eos_token_id, config.pad_token_id)
    assert written["llm_config"]["tie_word_embeddings"] is written["tie_word_embeddings"] is False
