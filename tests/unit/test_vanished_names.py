"""Names of the source that the compiler has left no place for: what they are told to be, held against nm."""

import shutil
import subprocess
from pathlib import Path

import pytest

from gdbext.profile.expressions.expression import ExpressionError, compile_expression
from gdbext.symbols.elf import ElfSymbols

SOURCE = """
struct range { unsigned long start, end, frames; };
static struct range arena, used_arena __attribute__((used));
static volatile struct range volatile_arena;
struct range public_arena;
static unsigned long forgotten;

unsigned long step(unsigned long by)
{
    arena.start += by, arena.end = arena.start + 7, arena.frames ^= arena.end;
    used_arena.start += by, used_arena.end = used_arena.start + 7;
    volatile_arena.start += by, public_arena.start += by;
    forgotten = by;
    return arena.frames + used_arena.end;
}

void _start(void)
{
    for (;;)
        step(3);
}
"""
IN_NAMESPACE = "namespace mm {" + SOURCE.replace("void _start", 'extern "C" void _start') + "}\n"
CURE = "make it volatile or not static, or mark it __attribute__((used)), and build again"


def built(folder: Path, compiler: str, source: str, suffix: str) -> Path:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not here")
    (folder / f"arena.{suffix}").write_text(source)
    flags = ["-O2", "-g", "-ffreestanding", "-fno-pie", "-nostdlib", "-static", "-Wl,--build-id=none"]
    subprocess.run([compiler, *flags, folder / f"arena.{suffix}", "-o", folder / "arena.elf"], check=True)
    return folder / "arena.elf"


def pieces(elf: Path) -> list[str]:
    """The arena's pieces, as binutils list them."""
    listing = subprocess.run(["nm", elf], check=True, capture_output=True, text=True).stdout
    return sorted(name for *_, name in map(str.split, listing.splitlines()) if "arena" in name and "." in name)


def problem(symbols: ElfSymbols, text: str) -> str:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text, symbols)
    return caught.value.problem


def test_a_struct_that_clang_takes_apart(tmp_path: Path) -> None:
    elf = built(tmp_path, "clang", SOURCE, "c")
    assert pieces(elf)
    said = problem(ElfSymbols(elf), "arena.start")
    assert f"the compiler split 'arena' into {', '.join(pieces(elf))}, so it has no address of its own" in said
    assert CURE in said
    assert "did you mean" not in said


def test_a_struct_in_a_namespace(tmp_path: Path) -> None:
    elf = built(tmp_path, "clang++", IN_NAMESPACE, "cpp")
    assert pieces(elf)
    said = problem(ElfSymbols(elf), "mm::arena.start")
    assert f"the compiler split 'mm::arena' into {', '.join(pieces(elf))}," in said


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_cures_help_and_what_is_gone_is_said_to_be(tmp_path: Path, compiler: str) -> None:
    symbols = ElfSymbols(built(tmp_path, compiler, SOURCE, "c"))
    for name in ("used_arena", "volatile_arena", "public_arena"):
        assert compile_expression(f"{name}.start", symbols).is_lvalue
    said = problem(symbols, "forgotten")
    assert "the compiler removed 'forgotten' from memory" in said
    assert CURE in said
    assert "did you mean forgotten?" in problem(symbols, "forgoten")  # it is in the source, and is told about next


def test_a_name_that_was_never_there_has_no_remains(tmp_path: Path) -> None:
    symbols = ElfSymbols(built(tmp_path, "gcc", SOURCE, "c"))
    assert symbols.remains("no_such_name") is None
    assert "did you mean public_arena" in problem(symbols, "publik_arena.start")
