"""Where the JSON form of a struct is more than its C fields, and what only one layout has."""

from __future__ import annotations

import pytest

from rkllmd.abi.json.forms import ALIASES, ELSEWHERE, EXTRAS, IMAGE_FIELDS, UNION_MEMBERS, describe_unknown
from rkllmd.abi.json.structs import fields_of, struct_types
from rkllmd.abi.layouts import rkllm
from rkllmd.abi.layouts.rkllm import LAYOUTS, Layout
from rkllmd.errors import NotSupported
from tests.abi.json.structs import JPEG, LAYOUT_1_2, LAYOUT_1_3, convert, refused


def test_image_tags_belong_to_the_input_since_1_3() -> None:
    value = {**JPEG, "image_start": "<i>", "image_end": "</i>", "image_content": "<pad>"}
    image = convert(value, LAYOUT_1_3, "RKLLMMultiModalInput").image
    assert (image.image_start, image.image_end, image.image_content) == (b"<i>", b"</i>", b"<pad>")
    with pytest.raises(NotSupported, match="img_start") as caught:
        convert(value, LAYOUT_1_2, "RKLLMMultiModalInput", runtime="rkllm 1.2.3")
    assert caught.value.data == {"runtime": "rkllm 1.2.3", "needs": "1.3.0 or 1.3.1", "path": "$.image_start"}
    with pytest.raises(NotSupported) as caught:
        convert({"prompt": "x", "image": {"image_embed": [[1]], "image_end": ""}}, LAYOUT_1_2, "RKLLMMultiModalInput")
    assert caught.value.data["path"] == "$.image.image_end"


@pytest.mark.parametrize("layout", [LAYOUT_1_2, LAYOUT_1_3])
def test_audio_needs_1_3_1(layout: Layout) -> None:
    """A layout without audio refuses it by name, and takes an input that has none."""
    value = {"prompt": "x", "image_embed": [[1.0]], "audio": {"audio_embed": [[1.0]]}}
    with pytest.raises(NotSupported, match="no audio in RKLLMMultiModalInput") as caught:
        convert(value, layout, "RKLLMMultiModalInput")
    assert (caught.value.data["needs"], caught.value.data["path"]) == ("1.3.1", "$.audio")
    convert({**value, "audio": None}, layout, "RKLLMMultiModalInput")


def test_did_you_mean(layout: Layout) -> None:
    error = refused({"prompt": "x", "enable_thinkin": 1}, layout, "RKLLMInput", "$", "additionalProperties")
    assert "did you mean 'enable_thinking'" in error.message
    error = refused({"prompt": "x", "y" * 9999: 1}, layout, "RKLLMInput", "$", "additionalProperties")
    assert len(error.message) < 100


def test_only_in_1_3() -> None:
    with pytest.raises(NotSupported, match=r"rkllm 1\.2 has no .*rkllm\.init") as caught:
        convert({"sampling_params": {"top_k": 1}}, LAYOUT_1_2, "RKLLMInferParam")
    assert caught.value.data == {"runtime": "rkllm 1.2", "needs": "1.3.0 or 1.3.1", "path": "$.sampling_params"}
    convert({"sampling_params": None}, LAYOUT_1_2, "RKLLMInferParam")  # asks for nothing
    convert({"max_new_tokens": 5}, LAYOUT_1_2, "RKLLMInferParam")  # which the daemon keeps by itself


def test_what_only_one_layout_has_at_init() -> None:
    with pytest.raises(NotSupported, match="image_start") as caught:
        convert({"model_path": "/m", "img_start": "<i>"}, LAYOUT_1_3, "RKLLMParam", runtime="rkllm 1.3.0")
    assert caught.value.data["needs"] == "1.2.1, 1.2.2 or 1.2.3"
    with pytest.raises(NotSupported, match="ignore_eos_token"):
        convert({"model_path": "/m", "ignore_eos_token": True}, LAYOUT_1_2, "RKLLMParam")
    convert({"model_path": "/m", "ignore_eos_token": False, "extend_param": None}, LAYOUT_1_2, "RKLLMParam")
    with pytest.raises(NotSupported, match="tokenizer"):
        convert({"model_path": "/m", "tokenizer_path": "/t"}, LAYOUT_1_2, "RKLLMParam")
    assert convert({"model_path": "/m", "tokenizer_path": "/t"}, LAYOUT_1_3, "RKLLMParam").model_path == b"/m"


def test_tables_of_the_json_form() -> None:
    """Every field that not all layouts have is explained, and every name in the tables exists."""
    old, new = LAYOUTS["1.2"].structs, LAYOUTS["1.3.1"].structs
    layouts = [layout.structs for layout in LAYOUTS.values()]
    only_some = {
        (name, field)
        for one in layouts
        for other in layouts
        for name in one.keys() & other.keys()
        for field in fields_of(one[name]).keys() - fields_of(other[name]).keys()
        if field not in IMAGE_FIELDS and field != "image"
    }
    tags = {("RKLLMMultiModalInput", f"image_{tag}") for tag in ("start", "end", "content")}
    extras = {(name, field) for name, fields in EXTRAS.items() for field, extra in fields.items() if extra.layouts}
    assert ELSEWHERE.keys() == only_some | tags | extras
    assert fields_of(new["RKLLMImageInput"]).keys() == IMAGE_FIELDS
    assert fields_of(old["RKLLMMultiModalInput"]).keys() - {"prompt"} < IMAGE_FIELDS
    for name, aliases in ALIASES.items():
        struct_type = struct_types(name)[-1]  # RKLLM's newest layout, or RKNN's only one
        assert all(canonical in fields_of(struct_type) or canonical in IMAGE_FIELDS for canonical in aliases.values())
    assert UNION_MEMBERS.keys() <= fields_of(new["RKLLMInput"]).keys()
    assert set(UNION_MEMBERS.values()) == set(rkllm.RKLLMInputType.__members__)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("promt", "the unknown field 'promt' (did you mean 'prompt'?)"),
        ("xyzzy", "the unknown field 'xyzzy'"),
        ("p" * 64, f"the unknown field {'p' * 64!r}"),
        ("prompt" * 11, "an unknown field with a long name"),
    ],
)
def test_an_unknown_field_comes_with_the_nearest_name_unless_it_is_long(name: str, words: str) -> None:
    assert describe_unknown(name, ["prompt", "role"]) == words
