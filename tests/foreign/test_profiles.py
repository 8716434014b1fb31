"""Their profiles are held against their files alone, without a machine."""

import json

import pytest

from ..live.offline import opened
from .conftest import HERE

PROFILES = sorted(HERE.glob("*/*.toml"))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_every_name_resolves(build, compiler, profile):
    kernel = build(compiler) / f"{profile.stem}.elf"
    told = json.loads(opened("--elf", kernel, "--profile", profile, "--", "memprofile check -json").stdout)
    assert (told["kernel"], told["problems"], told["unread"]) == (profile.stem, [], [])
    assert "frames" in [manager["name"] for manager in told["managers"]]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_another_kernels_profile_does_not_fit(build, compiler, profile):
    other = PROFILES[PROFILES.index(profile) - 1].stem
    kernel = build(compiler) / f"{other}.elf"
    assert "problem" in opened("--elf", kernel, "--profile", profile, "--", "memprofile check", expect=3).stdout
