"""Who may change, unload or stop what several users share, and that each method says what it changes."""

from __future__ import annotations

import pytest

from rkllmd.calls import authority, registry
from rkllmd.config.settings import Config
from rkllmd.errors import PermissionDenied

ROOT, OPERATOR, ANNA, BERTA, DAEMON = 0, 5, 1001, 1002, None


@pytest.mark.parametrize(
    ("setting", "user", "allowed"),
    [
        ("owner", ANNA, True),
        ("owner", BERTA, False),
        ("operator", ANNA, False),
        ("everybody", BERTA, True),
        *((setting, user, True) for setting in ("owner", "operator") for user in (ROOT, OPERATOR, DAEMON)),
    ],
)
def test_who_may_change_what_anna_has_made(setting: str, user: int | None, allowed: bool) -> None:
    config = Config(authority=setting, operator_users=(OPERATOR,))
    assert authority.may(config, user, ANNA) is allowed
    if allowed:
        authority.check(config, user, ANNA, "Language model", 7)
    else:
        with pytest.raises(PermissionDenied, match="Language model 7 is shared") as caught:
            authority.check(config, user, ANNA, "Language model", 7)
        assert caught.value.data == {"setting": "authority", "handle": 7, "owner": ANNA}
        who = "only operators" if setting == "operator" else f"it belongs to uid {ANNA}"
        assert who in str(caught.value), "whom to ask"


def test_what_the_daemon_has_loaded_is_the_operators() -> None:
    config = Config(operator_users=(OPERATOR,))
    assert authority.may(config, OPERATOR, DAEMON)
    with pytest.raises(PermissionDenied, match="only operators"):
        authority.check(config, ANNA, DAEMON, "Language model", 7)


@pytest.mark.parametrize("setting", ["owner", "operator", "everybody"])
def test_everybody_may_end_their_own_and_operators_anybodys(setting: str) -> None:
    config = Config(authority=setting, operator_users=(OPERATOR,))
    authority.check_end(config, ANNA, ANNA, "The run")
    authority.check_end(config, OPERATOR, ANNA, "The run")
    if setting == "everybody":
        authority.check_end(config, BERTA, ANNA, "The run")
        return
    with pytest.raises(PermissionDenied, match="The run is another user's") as caught:
        authority.check_end(config, BERTA, ANNA, "The run")
    assert caught.value.data == {"setting": "authority", "owner": ANNA}


# Methods that use what their leading handle means, as everybody may; the first two ask by themselves whose it is.
USES = {
    "rkllm.abort",
    "rkllm.clear_kv_cache",
    "rkllm.run",
    "rkllm.run_async",
    "rkllm.is_running",
    "rkllm.get_kv_cache_size",
    "rknn.create_mem",
    "rknn.create_mem2",
    "rknn.create_mem_from_fd",
    "rknn.create_mem_from_mb_blk",
    "rknn.create_mem_from_phys",
    "rknn.custom_op_get_op_attr",
    "rknn.dup_context",
    "rknn.infer",
    "rknn.inputs_set",
    "rknn.matmul_get_quant_params",
    "rknn.matmul_run",
    "rknn.mem_sync",
    "rknn.outputs_get",
    "rknn.outputs_release",
    "rknn.query",
    "rknn.run",
    "rknn.wait",
    "server.count_tokens",
    "server.model",
}


def test_each_method_with_a_handle_says_whether_it_changes_what_that_means() -> None:
    for method in registry.known().values():
        if method.handles:
            assert (method.alters is None) == (method.name in USES), f"{method.name}: does it alter what is shared?"
        if method.alters is not None:
            assert method.alters in {handle.argument for handle in method.handles}, method.name
