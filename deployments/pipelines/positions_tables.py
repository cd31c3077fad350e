# scripts in one folder, not a package: a pipeline is loaded by its path
"""The tables that the example pipeline `nightly_positions.py` fills.

They have their own file because Prefect sends a flow that a script serves to another process by value, and
SQLAlchemy's tables cannot be sent that way. The other process imports what a script imports.
"""

from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Numeric, String
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine


class ExactNumber(TypeDecorator[Decimal]):
    """A decimal number that the database does not round: NUMERIC, and text in SQLite.

    SQLite would keep a NUMERIC with a fraction as a float. Its `sum()` and `avg()` read the text as numbers.
    """

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column's type in this database."""
        return String(32) if dialect.name == "sqlite" else Numeric(24, 8)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Decimal | str | None:
        """The number in the form that this database needs."""
        return value if value is None or dialect.name != "sqlite" else format(value, "f")

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Decimal | None:  # noqa: ANN401, ARG002
        """The number as Python reads it."""
        return None if value is None else Decimal(value)


class Base(MappedAsDataclass, DeclarativeBase, kw_only=True):
    """The tables of this pipeline."""

    type_annotation_map = {Decimal: ExactNumber, str: String(200)}  # noqa: RUF012  # SQLAlchemy's own form


class Account(Base):
    """An account as it was last listed.

    The account's number is left out: nothing needs it, and people who may read positions need not know it.
    """

    __tablename__ = "accounts"

    key: Mapped[str] = mapped_column(primary_key=True)
    """E*TRADE's `accountIdKey`, which identifies the account in calls."""
    name: Mapped[str]
    kind: Mapped[str]
    mode: Mapped[str]
    status: Mapped[str]


class OfOneDay(MappedAsDataclass, kw_only=True):
    """The columns for one account on one US Eastern day."""

    day: Mapped[date] = mapped_column(primary_key=True)
    account_key: Mapped[str] = mapped_column(ForeignKey("accounts.key"), primary_key=True)


class Balance(OfOneDay, Base):
    """An account's money on one day, in dollars."""

    __tablename__ = "balances"

    cash: Mapped[Decimal | None]
    buying_power: Mapped[Decimal | None]
    positions_value: Mapped[Decimal | None]
    total_value: Mapped[Decimal | None]


class Position(OfOneDay, Base):
    """A holding on one day; amounts in dollars."""

    __tablename__ = "positions"

    position_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    symbol: Mapped[str]
    security_type: Mapped[str]
    quantity: Mapped[Decimal | None]
    price_paid: Mapped[Decimal | None]
    last_price: Mapped[Decimal | None]
    market_value: Mapped[Decimal | None]
    total_cost: Mapped[Decimal | None]
    total_gain: Mapped[Decimal | None]
