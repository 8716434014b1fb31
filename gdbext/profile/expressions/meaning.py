"""What an expression means in C: names to symbols and fields, operands to types, trees to operations.

The rules are those of ISO C17, 6.3 (conversions) and 6.5 (expressions), on x86-64. Where it is more lenient than C:
``.`` and ``->`` both work on objects and on pointers; ``void *`` steps by bytes; a pointer in a bit operation or a
remainder is an unsigned number. A bit-field wider than ``int`` has its declared type, as in clang and C++.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gdbext.profile.expressions.grammar import (
    Ast,
    Binary,
    Cast,
    Conditional,
    ContainerOf,
    ExpressionError,
    Index,
    Member,
    Name,
    Number,
    OffsetOf,
    SizeOf,
    Unary,
    parse,
)
from gdbext.profile.expressions.operations import (
    S64,
    U64,
    Arithmetic,
    Choose,
    Compare,
    Const,
    Load,
    Operation,
    OuterAddress,
    SelfAddress,
    Width,
    add_offset,
    convert,
    folded,
    offset_from_base,
    width_of,
)
from gdbext.symbols.model import Field, Kind, Symbol, Symbols, Type, nearest_names
from gdbext.symbols.typenames import INT, LONG, UNSIGNED_INT, UNSIGNED_LONG, VOID, pointer_to
from gdbext.units import WORD_MASK

SELF = "self"
OUTER = "outer"
_AGGREGATES = (Kind.STRUCT, Kind.UNION)
_ARITHMETIC = (Kind.INTEGER, Kind.BOOLEAN, Kind.ENUM)


@dataclass(frozen=True)
class Value:
    """A number, and its type."""

    operation: Operation
    type: Type


@dataclass(frozen=True)
class Place:
    """A place in memory: its address, the type of what is there; for a bit-field its lowest bit and its size.

    ``pointer`` says that the address came from a pointer, which may be null.
    """

    address: Operation
    type: Type
    shift: int = 0
    bits: int | None = None
    pointer: bool = False
    title: str = ""

    @property
    def load(self) -> Load:
        """The load from it; its type must have a width."""
        width = width_of(self.type)
        assert width is not None
        size = self.type.size if self.bits is None else (self.shift + self.bits + 7) // 8
        base, offset = offset_from_base(self.address)
        return Load(base, offset, size, width, self.shift, self.bits, self.pointer, self.title)


class Compiler:
    """Compiles one expression: ``operation`` is its value (None for a struct), ``place_or_none`` its place."""

    def __init__(
        self, text: str, symbols: Symbols, self_type: Type | None, where: str, outer_type: Type | None = None
    ) -> None:
        self._text = text
        self._symbols = symbols
        self._self_type = self_type
        self._outer_type = outer_type
        self._where = where
        result = self._compile(parse(text, self._is_type, where))
        self.place_or_none = result if isinstance(result, Place) else None
        self.type = result.type
        whole = self.place_or_none is not None and self.type.kind in _AGGREGATES
        self.operation = None if whole else self._as_value(result, 0).operation

    # Names

    def _error(self, position: int, problem: str) -> ExpressionError:
        return ExpressionError(self._where, self._text, position, problem)

    def _is_type(self, name: str) -> bool:
        if (name == SELF and self._self_type) or (name == OUTER and self._outer_type):
            return False
        if self._self_type and find_member(self._self_type, name):
            return False
        return self._symbols.find_symbol(name) is None and self._symbols.find_type(name) is not None

    def _type(self, name: str, position: int) -> Type:
        found = self._symbols.find_type(name)
        if found is None:
            raise self._error(position, f"the kernel has no type '{name}'")
        return found

    def _named(self, tree: Name) -> Value | Place:
        node, outer = self._self_type, self._outer_type
        if outer is not None and tree.name == OUTER:
            return Value(OuterAddress(), pointer_to(lambda: outer, outer.name))
        if node is not None:
            if tree.name == SELF:
                return Value(SelfAddress(), pointer_to(lambda: node, node.name))
            member = find_member(node, tree.name)
            if member:
                return _member_place(Place(SelfAddress(), node), *member, title=tree.name)
        elif tree.name == SELF:
            raise self._error(tree.position, "there is no 'self' here: this expression is not evaluated on a node")
        symbol = self._symbols.find_symbol(tree.name)
        if symbol is None:
            raise self._error(tree.position, self._unknown(tree.name))
        return self._symbol(symbol, tree)

    def _unknown(self, name: str) -> str:
        remains = self._symbols.remains(name)
        if remains is not None:
            return _lost(name, remains)
        fields = field_names(self._self_type) if self._self_type else []
        near = nearest_names(name, [*fields, *self._symbols.nearest(name)])
        owner = f"neither {self._self_type.name} nor the kernel has a '{name}'" if self._self_type else ""
        return (owner or f"the kernel has no symbol '{name}'") + _hint(near)

    def _symbol(self, symbol: Symbol, tree: Name) -> Value | Place:
        if symbol.address is None:
            kind = symbol.type or LONG
            value = symbol.value or 0
            if kind.kind is Kind.ENUM:  # an enumerator is an int when it fits (C17 6.7.2.2)
                kind = INT if -(1 << 31) <= value < 1 << 31 else LONG
            return Value(Const((width_of(kind) or S64).wrap(value), width_of(kind) or S64), kind)
        return Place(Const(symbol.address, U64), symbol.type or VOID, title=tree.name)

    # Values

    def _compile(self, tree: Ast) -> Value | Place:
        match tree:
            case Number():
                return _number(tree)
            case Name():
                return self._named(tree)
            case Member():
                return self._member(tree)
            case Index():
                return self._index(tree)
            case Unary():
                return self._unary(tree)
            case Cast():
                return self._cast(tree)
            case Conditional():
                return self._conditional(tree)
            case Binary():
                return self._binary(tree)
            case SizeOf():
                return self._sizeof(tree)
            case OffsetOf():
                offset, _ = self._designated(tree.type_name, tree.member, tree.position)
                return Value(Const(offset, U64), UNSIGNED_LONG)
            case ContainerOf():
                return self._container_of(tree)

    def _value(self, tree: Ast) -> Value:
        return self._as_value(self._compile(tree), tree.position)

    def _as_value(self, result: Value | Place, position: int) -> Value:
        """C's lvalue conversion: a place is read, an array or a function becomes its address."""
        if isinstance(result, Value):
            return result
        kind = result.type
        if kind.kind is Kind.ARRAY:
            element = kind.target or VOID
            return Value(result.address, pointer_to(lambda: element, element.name))
        if kind.kind is Kind.FUNCTION:
            return Value(result.address, pointer_to(lambda: kind, kind.name))
        if kind.kind is Kind.VOID:
            raise self._error(position, _untyped(result))
        if width_of(kind) is None:
            hint = "; name one of its members" if kind.kind in _AGGREGATES else ""
            raise self._error(position, f"{kind.name} is not a number{hint}")
        return _converted(Value(result.load, kind), _bit_field_type(kind, result.bits))

    def _number_value(self, tree: Ast) -> Value:
        """A value of arithmetic type, promoted."""
        return self._promoted(self._value(tree), tree.position)

    def _promoted(self, value: Value, position: int) -> Value:
        """C's integer promotions; a pointer is treated as an unsigned number."""
        kind = value.type
        if kind.kind is Kind.POINTER:
            return Value(value.operation, UNSIGNED_LONG)
        if kind.kind not in _ARITHMETIC:
            raise self._error(position, f"{kind.name} is not a number")
        if kind.size < 4 or kind.kind is Kind.BOOLEAN:
            return _converted(value, INT)
        return Value(value.operation, _arithmetic_type(kind))

    def _condition(self, tree: Ast) -> Operation:
        return self._value(tree).operation

    # Operators

    def _member(self, tree: Member) -> Place:
        owner = self._compile(tree.operand)
        if isinstance(owner, Value) or owner.type.kind not in _AGGREGATES:
            owner = self._pointed(self._as_value(owner, tree.operand.position), tree.position)
        if owner.type.kind not in _AGGREGATES:
            raise self._error(tree.position, f"{owner.type.name} has no members")
        found = find_member(owner.type, tree.name)
        if found is None:
            raise self._error(tree.position, _no_member(owner.type, tree.name))
        return _member_place(owner, *found, title=f"{owner.title}.{tree.name}" if owner.title else tree.name)

    def _pointed(self, pointer: Value, position: int) -> Place:
        """The place that a pointer points to."""
        target = pointer.type.target
        if pointer.type.kind is not Kind.POINTER or target is None:
            raise self._error(position, f"{pointer.type.name} is not a pointer; cast it to one, as in *(uint64_t *)x")
        checked = not isinstance(pointer.operation, Const | SelfAddress | OuterAddress)
        return Place(pointer.operation, target, pointer=checked, title=self._piece(position))

    def _piece(self, position: int) -> str:
        return f"'{self._text}' (column {position + 1})"

    def _index(self, tree: Index) -> Place:
        base, index = self._compile(tree.array), self._value(tree.index)
        array = self._as_value(base, tree.array.position)
        if array.type.kind is not Kind.POINTER:
            raise self._error(tree.position, f"{array.type.name} is neither an array nor a pointer")
        moved = self._step(array, index, "+", tree.position)
        place = self._pointed(moved, tree.position)
        inside = isinstance(base, Place) and base.type.kind is Kind.ARRAY and not base.pointer
        return Place(place.address, place.type, pointer=place.pointer and not inside, title=place.title)

    def _step(self, pointer: Value, count: Value, sign: str, position: int) -> Value:
        """Pointer arithmetic: steps of the size of the type it points to; bytes for ``void *``."""
        target = pointer.type.target or VOID
        if count.type.kind not in _ARITHMETIC:
            raise self._error(position, f"{count.type.name} is not a number")
        size = 1 if target.kind in (Kind.VOID, Kind.FUNCTION) else target.size
        if not size:
            raise self._error(position, f"the size of {target.name} is not known")
        distance = convert(convert(self._promoted(count, position).operation, S64), U64)
        distance = folded(Arithmetic("*", distance, Const(size, U64), U64)) if size > 1 else distance
        if isinstance(distance, Const):
            moved = distance.value if sign == "+" else -distance.value
            return Value(add_offset(pointer.operation, moved), pointer.type)
        return Value(Arithmetic(sign, pointer.operation, distance, U64), pointer.type)

    def _unary(self, tree: Unary) -> Value | Place:
        match tree.operator:
            case "*":
                return self._pointed(self._value(tree.operand), tree.position)
            case "&":
                return self._address_of(tree)
            case "!":
                condition = self._condition(tree.operand)
                width = condition.width
                return Value(folded(Compare("==", condition, Const(0, width))), INT)
        operand = self._number_value(tree.operand)
        width = operand.operation.width
        if tree.operator == "-":
            return Value(folded(Arithmetic("-", Const(0, width), operand.operation, width)), operand.type)
        if tree.operator == "~":
            return Value(folded(Arithmetic("^", operand.operation, Const(width.wrap(-1), width), width)), operand.type)
        return operand

    def _address_of(self, tree: Unary) -> Value:
        place = self._compile(tree.operand)
        if isinstance(place, Value):
            raise self._error(tree.position, "'&' needs something in memory: a value has no address")
        if place.bits is not None:
            raise self._error(tree.position, "a bit-field has no address of its own")
        kind = place.type
        return Value(place.address, pointer_to(lambda: kind, kind.name))

    def _cast(self, tree: Cast) -> Value:
        kind = self._type(tree.type_name, tree.position)
        operand = self._value(tree.operand)
        if width_of(kind) is None:
            raise self._error(tree.position, f"a value cannot be cast to {kind.name}")
        return _converted(operand, kind)

    def _conditional(self, tree: Conditional) -> Value:
        condition = self._condition(tree.condition)
        yes, no = self._value(tree.yes), self._value(tree.no)
        pointer = next((value.type for value in (yes, no) if value.type.kind is Kind.POINTER), None)
        if pointer is not None:
            yes, no = _converted(yes, pointer), _converted(no, pointer)
        else:
            yes, no = self._balanced(yes, no, tree)
        return Value(_choose(condition, yes.operation, no.operation), yes.type)

    def _balanced(self, left: Value, right: Value, tree: Binary | Conditional) -> tuple[Value, Value]:
        """C's usual arithmetic conversions."""
        first, second = self._promoted(left, tree.position), self._promoted(right, tree.position)
        common = _common(first.type, second.type)
        return _converted(first, common), _converted(second, common)

    def _binary(self, tree: Binary) -> Value:
        sign = tree.operator
        if sign in ("&&", "||"):
            return self._logical(tree)
        left, right = self._value(tree.left), self._value(tree.right)
        pointers = (left.type.kind is Kind.POINTER, right.type.kind is Kind.POINTER)
        if sign in ("+", "-") and any(pointers):
            return self._pointer_sum(tree, left, right, pointers)
        if sign in ("*", "/", "<<", ">>") and any(pointers):
            raise self._error(tree.position, f"'{sign}' cannot be applied to a pointer; cast it to uintptr_t")
        if sign in ("<<", ">>"):
            left, right = self._promoted(left, tree.position), self._promoted(right, tree.position)
            return self._arithmetic(tree, left, right)
        left, right = self._balanced(left, right, tree)
        if sign in ("==", "!=", "<", "<=", ">", ">="):
            return Value(folded(Compare(sign, left.operation, right.operation)), INT)
        return self._arithmetic(tree, left, right)

    def _arithmetic(self, tree: Binary, left: Value, right: Value) -> Value:
        title = self._piece(tree.position)
        made = Arithmetic(tree.operator, left.operation, right.operation, left.operation.width, title)
        return Value(folded(made), left.type)

    def _logical(self, tree: Binary) -> Value:
        left, right = self._condition(tree.left), self._condition(tree.right)
        zero, one = Const(0, INT_WIDTH), Const(1, INT_WIDTH)
        truth = folded(Compare("!=", right, Const(0, right.width)))
        return Value(_choose(left, truth, zero) if tree.operator == "&&" else _choose(left, one, truth), INT)

    def _pointer_sum(self, tree: Binary, left: Value, right: Value, pointers: tuple[bool, bool]) -> Value:
        match (tree.operator, *pointers):
            case (_, True, False):
                return self._step(left, right, tree.operator, tree.position)
            case ("+", False, True):
                return self._step(right, left, "+", tree.position)
            case ("-", True, True):
                size = (left.type.target or VOID).size or 1
                bytes_between = convert(folded(Arithmetic("-", left.operation, right.operation, U64)), S64)
                return Value(folded(Arithmetic("/", bytes_between, Const(size, S64), S64)), LONG)
        raise self._error(tree.position, f"'{tree.operator}' cannot be applied to these pointers")

    def _sizeof(self, tree: SizeOf) -> Value:
        kind = self._type(tree.type_name, tree.position) if tree.type_name else self._operand_type(tree)
        if not kind.size:
            raise self._error(tree.position, f"the size of {kind.name} is not known")
        return Value(Const(kind.size, U64), UNSIGNED_LONG)

    def _operand_type(self, tree: SizeOf) -> Type:
        assert tree.operand is not None
        return self._compile(tree.operand).type

    def _designated(self, type_name: str, path: Iterable[str | int], position: int) -> tuple[int, Type]:
        """The offset in bytes of a member designator in a type, and the type there."""
        kind, offset = self._type(type_name, position), 0
        for step in path:
            if isinstance(step, int):
                element = kind.target if kind.kind is Kind.ARRAY else None
                if element is None:
                    raise self._error(position, f"{kind.name} is not an array")
                kind, offset = element, offset + step * element.size
                continue
            found = find_member(kind, step)
            if found is None:
                raise self._error(position, _no_member(kind, step))
            member, base = found
            if member.bit_size is not None:
                raise self._error(position, f"'{step}' is a bit-field, which has no offset in bytes")
            kind, offset = member.type, offset + base
        return offset, kind

    def _container_of(self, tree: ContainerOf) -> Value:
        pointer = self._value(tree.operand)
        if pointer.type.kind is not Kind.POINTER:
            raise self._error(tree.position, f"{pointer.type.name} is not a pointer")
        offset, _ = self._designated(tree.type_name, tree.member, tree.position)
        kind = self._type(tree.type_name, tree.position)
        return Value(add_offset(pointer.operation, -offset), pointer_to(lambda: kind, kind.name))


INT_WIDTH = Width(32, True)


def find_member(kind: Type, name: str) -> tuple[Field, int] | None:
    """The member of this name and its offset in bytes, searched in anonymous members and base classes too."""
    for member in kind.fields:
        if member.name == name:
            return member, member.offset
    for member in kind.fields:
        if not member.name and member.type.kind in _AGGREGATES:
            found = find_member(member.type, name)
            if found:
                return found[0], member.offset + found[1]
    return None


def field_names(kind: Type) -> list[str]:
    """The names that ``find_member`` accepts."""
    names: list[str] = []
    for member in kind.fields:
        if member.name:
            names.append(member.name)
        elif member.type.kind in _AGGREGATES:
            names += field_names(member.type)
    return names


def _no_member(kind: Type, name: str) -> str:
    names = field_names(kind)
    if not names:
        incomplete = kind.kind in _AGGREGATES and not kind.size
        return f"{kind.name} is declared but not defined" if incomplete else f"{kind.name} has no members"
    return f"{kind.name} has no member '{name}'" + _hint(nearest_names(name, names))


def _hint(names: Iterable[str]) -> str:
    listed = " or ".join(dict.fromkeys(names))
    return f"; did you mean {listed}?" if listed else ""


def _lost(name: str, remains: tuple[str, ...]) -> str:
    """Why a name of the kernel's source has no address, and what to do about it."""
    kept = "make it volatile or not static, or mark it __attribute__((used)), and build again"
    if remains:
        return f"the compiler split '{name}' into {', '.join(remains)}, so it has no address of its own; {kept}"
    return f"the compiler removed '{name}' from memory; {kept}"


def _untyped(place: Place) -> str:
    if not place.title or place.title.startswith("'"):
        return "void has no value; cast the pointer first, as in *(uint64_t *)x"
    return f"'{place.title}' has no type; use &{place.title}, or *(uint64_t *)&{place.title} for the value there"


def _member_place(owner: Place, member: Field, offset: int, title: str) -> Place:
    address = add_offset(owner.address, offset)
    return Place(address, member.type, member.bit_offset, member.bit_size, owner.pointer, title)


def _number(tree: Number) -> Value:
    """An integer constant has the first type that holds it (C17 6.4.4.1); decimal ones stay signed if they can."""
    unsigned, long = "u" in tree.suffix, "l" in tree.suffix
    candidates = [INT, UNSIGNED_INT, LONG, UNSIGNED_LONG]
    for kind in candidates:
        if (long and kind.size < 8) or (unsigned and kind.signed):
            continue
        if not kind.signed and tree.decimal and not unsigned and kind is not UNSIGNED_LONG:
            continue
        width = width_of(kind)
        if width is not None and width.wrap(tree.value) == tree.value:
            return Value(Const(tree.value, width), kind)
    return Value(Const(tree.value & WORD_MASK, U64), UNSIGNED_LONG)


def _converted(value: Value, kind: Type) -> Value:
    width = width_of(kind)
    assert width is not None
    return Value(convert(value.operation, width), kind)


def _arithmetic_type(kind: Type) -> Type:
    if kind.size == 8:
        return LONG if kind.signed else UNSIGNED_LONG
    return INT if kind.signed else UNSIGNED_INT


def _common(first: Type, second: Type) -> Type:
    if first.size == second.size:
        return first if not first.signed else second
    return first if first.size > second.size else second


def _bit_field_type(kind: Type, bits: int | None) -> Type:
    """A bit-field whose values all fit an int is an int (C17 6.3.1.1)."""
    if bits is None or kind.kind is Kind.BOOLEAN or bits > 32 or (bits == 32 and not kind.signed):
        return kind
    return kind if kind.signed and kind.size == 4 else INT


def _choose(condition: Operation, yes: Operation, no: Operation) -> Operation:
    if isinstance(condition, Const):
        return yes if condition.value else no
    return Choose(condition, yes, no, yes.width)
