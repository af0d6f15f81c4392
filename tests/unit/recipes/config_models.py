"""Models that configurations of tests have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, NotRequired, TypedDict
from uuid import UUID

import pydantic

from coord.recipes.config.layers import Layer, Layers
from coord.recipes.config.shape import shape_of

Port = NewType("Port", int)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Db:
    host: str = "localhost"
    port: Port = Port(5432)


@dataclass(frozen=True)
class Everything:
    text: str = ""
    whole: int = 0
    part: float = 0.0
    truth: bool = False
    maybe: str | None = None
    count: int | None = 3
    either: int | str = 0
    listed: list[int] = field(default_factory=list)
    pair: tuple[int, str] = (0, "")
    many: tuple[int, ...] = ()
    some: Sequence[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    table: dict[str, int] = field(default_factory=dict)
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    mode: Literal["fast", "slow"] = "fast"
    size: Literal[1, 2] = 1
    path: Path = Path("/")
    money: Decimal = Decimal(0)
    day: date = date(2000, 1, 1)
    at: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    span: timedelta = timedelta(0)
    id: UUID | None = None
    any: Any = None
    noted: Annotated[int, "a note"] = 0
    db: Db = field(default_factory=Db)
    dbs: list[Db] = field(default_factory=list)


class PydanticDb(pydantic.BaseModel):
    host: str = "localhost"
    port: int = 5432


class Model(pydantic.BaseModel):
    text: str = ""
    whole: int = 0
    secret: pydantic.SecretStr = pydantic.SecretStr("")
    tags: list[str] = []
    span: timedelta = timedelta(0)
    level: Level = Level.LOW
    named: int = pydantic.Field(0, alias="theName")
    db: PydanticDb = PydanticDb()
    other: PydanticDb | None = None

    @pydantic.field_validator("whole")
    @classmethod
    def _small(cls, value: int) -> int:
        if value > 100:
            raise ValueError("is too large")
        return value


class Typed(TypedDict):
    text: str
    whole: NotRequired[int]


def layers(model: Any, *below: Layer) -> Layers:
    strangers: list[str] = []
    made = Layers(model, shape_of(model), below, strangers.append)
    made.strangers = strangers  # type: ignore[attr-defined]  # for the test to look at
    return made


def built(model: Any, **texts: str) -> Any:
    return layers(model).build({name.replace("__", "/"): text for name, text in texts.items()}).value
