"""For which processor the portable runtime is compiled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rkllmd.portable import build, march

CROSS = "aarch64-linux-gnu-gcc"
# As the kernels of these boards list them in /proc/cpuinfo.
A53 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
A55 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
A76 = A55
A78 = A55 + " uscat ilrcpc flagm ssbs"
X2 = A78 + " i8mm bf16 sve sve2"
PC = "processor\t: 0\nflags\t\t: fpu sse2 avx2\n"


def cpuinfo(*processors: str) -> str:
    return "".join(f"processor\t: {n}\nFeatures\t: {found}\n\n" for n, found in enumerate(processors))


@pytest.mark.parametrize(
    ("machine", "text", "expected"),
    [
        ("aarch64", cpuinfo(*[A55] * 4, *[A76] * 4), "armv8.2-a+dotprod+fp16"),
        ("aarch64", cpuinfo(A55, A55, A55, A55), "armv8.2-a+dotprod+fp16"),
        ("aarch64", cpuinfo(A53, A53, A53, A53), "armv8-a"),
        ("aarch64", cpuinfo(A53, X2), "armv8-a"),
        ("aarch64", cpuinfo(A55, X2), "armv8.2-a+dotprod+fp16"),
        ("aarch64", cpuinfo(X2, X2), "armv8.2-a+dotprod+fp16+i8mm"),
        ("aarch64", cpuinfo(A55.replace(" fphp", "")), "armv8.2-a+dotprod"),
        ("aarch64", "", "armv8-a"),
        ("armv7l", cpuinfo("half thumb fastmult vfp edsp neon vfpv3"), "native"),
        ("x86_64", PC, "native"),
    ],
    ids=["RK3588", "RK3568", "RK3562", "the least of both", "the common", "i8mm", "no fp16", "unknown", "ARM 32", "PC"],
)
def test_what_all_processors_have_is_used(machine: str, text: str, expected: str) -> None:
    assert march.of(machine, text) == expected
    assert march.lacking(expected, machine, text) == []


def test_what_a_machine_can_not_run_is_told() -> None:
    fast = "armv8.2-a+dotprod+fp16"
    assert march.lacking(fast, "aarch64", cpuinfo(A53)) == ["dotprod", "fp16", "armv8.2-a"]
    assert march.lacking(fast, "aarch64", cpuinfo(A55.replace(" fphp", ""))) == ["fp16"]
    assert march.lacking("armv8-a", "aarch64", cpuinfo(A53)) == []
    assert march.lacking(fast, "aarch64", "") == [], "a machine that does not say may have it"
    assert march.lacking("native", "x86_64", PC) == []


def test_the_environment_names_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RKLLMD_MARCH", "armv8-a")
    assert march.wanted() == "armv8-a"
    monkeypatch.setenv("RKLLMD_MARCH", "")
    assert march.wanted() == march.of(os.uname().machine, Path("/proc/cpuinfo").read_text())


@pytest.mark.skipif(shutil.which(CROSS) is None, reason=f"needs {CROSS}")
@pytest.mark.parametrize("processor", [A53, A55, X2], ids=["A53", "A55", "X2"])
def test_the_compiler_knows_it_and_switches_on_what_it_names(processor: str) -> None:
    name = march.of("aarch64", cpuinfo(processor))
    command = [CROSS, *march.flags(name), "-dM", "-E", "-x", "c", os.devnull]
    macros = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for feature, macro in (
        ("dotprod", "__ARM_FEATURE_DOTPROD"),
        ("fp16", "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC"),
        ("i8mm", "__ARM_FEATURE_MATMUL_INT8"),
    ):
        assert (f"#define {macro} 1" in macros) == (f"+{feature}" in name)


def test_make_asks_before_anything_is_installed(tmp_path: Path) -> None:
    """It runs as a file, in a Python that has nothing of ours, and answers whether an engine fits."""
    command = [sys.executable, "-I", str(Path(march.__file__))]
    environ = {**os.environ, "RKLLMD_MARCH": "armv8-a"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], env=environ, capture_output=True, text=True, check=False)

    assert run().stdout == "armv8-a\n"
    assert run(str(tmp_path)).returncode == 1, "an engine of which nothing is known was built for its own machine"
    (tmp_path / march.RECORD).write_text("armv8-a\n")
    assert run(str(tmp_path)).returncode == 0


def test_an_engine_that_this_machine_can_not_run_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(march, "recorded", lambda _libraries: "armv8.2-a+dotprod+fp16")
    monkeypatch.setattr(march, "missing_here", lambda name: march.lacking(name, "aarch64", cpuinfo(A53)))
    with pytest.raises(build.EngineMissingError, match="this processor has no dotprod and no fp16 and no armv8"):
        build.library_path()


def test_another_processor_is_another_library(monkeypatch: pytest.MonkeyPatch) -> None:
    native = build._hash(build.find_engine())
    monkeypatch.setattr(march, "recorded", lambda _libraries: "armv8-a")
    assert build._hash(build.find_engine()) != native
