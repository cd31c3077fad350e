"""Sample accounts, balances and positions in E*TRADE's shapes; made up, and the same on every run.

The shapes are those on E*TRADE's pages about accounts, balances and portfolios. The numbers are consistent: a
position is worth its quantity times its quote, and an account the sum of its positions and its cash.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from etrade_simulator.problems import DataProblem
from etrade_simulator.sample_quotes import Document, Price


@dataclass(frozen=True)
class Position:
    """A holding: how many shares, and their gain so far in percent of the purchase price."""

    symbol: str
    quantity: int
    gain: float

    @property
    def paid(self) -> float:
        """Return the purchase price of each share, in dollars."""
        return round(Price.of(self.symbol).last / (1 + self.gain / 100), 2)


@dataclass(frozen=True)
class Account:
    """One sample account; all amounts are in dollars."""

    number: str
    key: str
    description: str
    name: str
    kind: str
    mode: str
    cash: float
    positions: tuple[Position, ...]


ACCOUNTS = (
    Account(
        number="840104290",
        key="SAMPLEbrokerageKEY0001",
        description="Brokerage",
        name="Sample brokerage account",
        kind="INDIVIDUAL",
        mode="MARGIN",
        cash=12_500.25,
        positions=(Position("AAPL", 40, 31.5), Position("MSFT", 15, -2.5), Position("VTI", 120, 18.0)),
    ),
    Account(
        number="840104291",
        key="SAMPLErothiraKEY000002",
        description="Roth IRA",
        name="Sample retirement account",
        kind="ROTHIRA",
        mode="CASH",
        cash=3_210.0,
        positions=(Position("BND", 200, 1.5), Position("VXUS", 90, 9.0)),
    ),
)


def find_account(account_id_key: str) -> Account:
    """Return the sample account of this ``accountIdKey``.

    Raises:
        DataProblem: There is none; code 102.
    """
    for account in ACCOUNTS:
        if account.key == account_id_key:
            return account
    raise DataProblem(102, "Please enter valid Account Key")


def account_list() -> Document:
    """Return both accounts, as ``AccountListResponse``."""
    return {
        "AccountListResponse": {
            "Accounts": {
                "Account": [
                    {
                        "accountId": account.number,
                        "accountIdKey": account.key,
                        "accountMode": account.mode,
                        "accountDesc": account.description,
                        "accountName": account.name,
                        "accountType": account.kind,
                        "institutionType": "BROKERAGE",
                        "accountStatus": "ACTIVE",
                        "closedDate": 0,
                    }
                    for account in ACCOUNTS
                ]
            }
        }
    }


def market_value(account: Account) -> float:
    """Return the value of the account's positions, in dollars."""
    return round(sum(held.quantity * Price.of(held.symbol).last for held in account.positions), 2)


def balance(account: Account, *, real_time: bool) -> Document:
    """Return the account's cash and buying power, and its net value if ``real_time``."""
    worth = market_value(account)
    computed: Document = {
        "cashAvailableForInvestment": account.cash,
        "cashAvailableForWithdrawal": account.cash,
        "netCash": account.cash,
        "cashBalance": account.cash,
        "settledCashForInvestment": account.cash,
        "unSettledCashForInvestment": 0,
        "cashBuyingPower": account.cash,
        "marginBuyingPower": round(account.cash * 2, 2) if account.mode == "MARGIN" else 0,
        "accountBalance": round(account.cash + worth, 2),
    }
    if real_time:
        computed["RealTimeValues"] = {
            "totalAccountValue": round(account.cash + worth, 2),
            "netMv": worth,
            "netMvLong": worth,
            "netMvShort": 0,
        }
    return {
        "BalanceResponse": {
            "accountId": account.number,
            "accountType": account.mode,
            "optionLevel": "NO_OPTIONS",
            "accountDescription": account.name,
            "quoteMode": 0,
            "dayTraderStatus": "NO_PDT",
            "accountMode": account.mode,
            "Cash": {"fundsForOpenOrdersCash": 0, "moneyMktBalance": account.cash},
            "Computed": computed,
        }
    }


def portfolio(account: Account, base_url: str, now: datetime) -> Document:
    """Return the account's positions with a quick quote each, as ``PortfolioResponse``."""
    worth = market_value(account)
    positions: list[Document] = []
    for number, held in enumerate(account.positions, start=1):
        position_id = int(account.number) * 100 + number
        position = _position(held, worth, now)
        positions.append(
            {
                "positionId": position_id,
                **position,
                "lotsDetails": f"{base_url}/v1/accounts/{account.key}/portfolio/{position_id}",
                "quoteDetails": f"{base_url}/v1/market/quote/{held.symbol}",
            }
        )
    entry = {"accountId": account.number, "totalPages": 1, "Position": positions}
    return {"PortfolioResponse": {"AccountPortfolio": [entry]}}


def _position(held: Position, worth: float, now: datetime) -> Document:
    price = Price.of(held.symbol)
    value, cost = round(held.quantity * price.last, 2), round(held.quantity * held.paid, 2)
    return {
        "symbolDescription": held.symbol,
        "dateAcquired": int(datetime(2024, 1, 2, tzinfo=UTC).timestamp() * 1000),
        "pricePaid": held.paid,
        "commissions": 0,
        "otherFees": 0,
        "quantity": held.quantity,
        "positionIndicator": "TYPE2",
        "positionType": "LONG",
        "daysGain": round(held.quantity * price.change, 2),
        "daysGainPct": price.change_percent,
        "marketValue": value,
        "totalCost": cost,
        "totalGain": round(value - cost, 2),
        "totalGainPct": round(100 * (value - cost) / cost, 4),
        "pctOfPortfolio": round(100 * value / worth, 4),
        "costPerShare": held.paid,
        "Product": {"symbol": held.symbol, "securityType": "EQ"},
        "Quick": {
            "lastTrade": price.last,
            "lastTradeTime": int(now.timestamp()),
            "change": price.change,
            "changePct": price.change_percent,
            "volume": price.volume,
            "quoteStatus": "REALTIME",
        },
    }
