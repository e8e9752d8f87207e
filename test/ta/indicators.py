"""Indicators of TA-Lib for the checks from outside: JSON on stdin (close, notional, volume), JSON on stdout (null for NaN)."""
import json
import sys

import numpy
import talib

given = json.load(sys.stdin)
close = numpy.array(given["close"], dtype=float)
notional = numpy.array(given["notional"], dtype=float)
volume = numpy.array(given["volume"], dtype=float)
bars_of_5m = given["bars_of_5m"]

macd, signal, hist = talib.MACD(close, fastperiod=12, slowperiod=26, signalperiod=9)
upper, mid, lower = talib.BBANDS(close, timeperiod=20, nbdevup=2, nbdevdn=2, matype=0)
returns = numpy.log(close[1:] / close[:-1])
values = {
    "ema12": talib.EMA(close, timeperiod=12),
    "ema26": talib.EMA(close, timeperiod=26),
    "macd": macd,
    "macdSignal": signal,
    "macdHist": hist,
    "rsi14": talib.RSI(close, timeperiod=14),
    "bollMid": mid,
    "bollUpper": upper,
    "bollLower": lower,
    "vwapW5m": talib.SUM(notional, timeperiod=bars_of_5m) / talib.SUM(volume, timeperiod=bars_of_5m),
    "volRealizedW60s": numpy.concatenate(([numpy.nan], talib.STDDEV(returns, timeperiod=60, nbdev=1))),
}
json.dump({name: [None if x != x else x for x in row.tolist()] for name, row in values.items()}, sys.stdout)
