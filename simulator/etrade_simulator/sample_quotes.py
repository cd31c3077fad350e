"""Sample prices in the shape of E*TRADE's quotes; made up, and the same on every run."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from datetime import datetime

from etrade_simulator.clock import EASTERN

Document = dict[str, object]

MOST_SYMBOLS = 25
"""How many symbols one quote call reads; E*TRADE leaves out the rest."""

_SYMBOL = re.compile(r"[A-Z][A-Z0-9.:-]{0,39}")


@dataclass(frozen=True)
class Price:
    """A symbol's made-up prices in dollars, derived only from its letters."""

    last: float
    previous: float
    volume: int

    @classmethod
    def of(cls, symbol: str) -> Price:
        """Return the prices of a symbol: between 10 and 500 dollars, changing by at most three percent."""
        seed = zlib.crc32(symbol.encode())
        previous = round(10 + seed % 49_000 / 100, 2)
        last = round(previous * (1 + (seed // 49_000 % 601 - 300) / 10_000), 2)
        return cls(last, previous, 100_000 + seed % 9_000_000)

    @property
    def change(self) -> float:
        """Return the change since the previous close, in dollars."""
        return round(self.last - self.previous, 2)

    @property
    def change_percent(self) -> float:
        """Return the change since the previous close, in percent."""
        return round(100 * self.change / self.previous, 2)


def quotes(symbols: str, now: datetime) -> Document:
    """Return quotes of up to 25 symbols joined by commas, as ``QuoteResponse``.

    Text that does not look like a symbol is listed in ``Messages`` instead, as E*TRADE does.
    """
    wanted = [symbol.strip().upper() for symbol in symbols.split(",")][:MOST_SYMBOLS]
    found = [_quote(symbol, now) for symbol in wanted if _SYMBOL.fullmatch(symbol)]
    unknown = [
        {"description": f"{symbol} is an invalid symbol", "code": 1019, "type": "WARNING"}
        for symbol in wanted
        if not _SYMBOL.fullmatch(symbol)
    ]
    response: Document = {}
    if found:
        response["QuoteData"] = found
    if unknown:
        response["Messages"] = {"Message": unknown}
    return {"QuoteResponse": response}


def _quote(symbol: str, now: datetime) -> Document:
    price = Price.of(symbol)
    seconds = int(now.timestamp())
    return {
        "dateTime": now.astimezone(EASTERN).strftime("%H:%M:%S %Z %m-%d-%Y"),
        "dateTimeUTC": seconds,
        "quoteStatus": "REALTIME",
        "ahFlag": "false",
        "All": {
            "ask": round(price.last + 0.02, 2),
            "askSize": 200,
            "bid": round(price.last - 0.02, 2),
            "bidSize": 100,
            "changeClose": price.change,
            "changeClosePercentage": price.change_percent,
            "companyName": f"Sample company {symbol}",
            "high": round(max(price.last, price.previous) * 1.01, 2),
            "low": round(min(price.last, price.previous) * 0.99, 2),
            "lastTrade": price.last,
            "open": price.previous,
            "previousClose": price.previous,
            "symbolDescription": f"Sample company {symbol}",
            "timeOfLastTrade": seconds,
            "totalVolume": price.volume,
        },
        "Product": {"symbol": symbol, "securityType": "EQ"},
    }
