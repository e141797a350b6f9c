"""The numeric formats that there are, one row each: another precision is another row.

What runs in children gets the scheme that it is asked for as a value, and does not import this module: what a file is
judged by may change without any file being made again.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from edgekit.errors import UsageError
from edgekit.scheme import Floors, Precision, Scheme

#: From the one that quantizes most to the one that quantizes least: where one fails, those behind it may help.
#:
#: fp32 and fp16 differ from the framework by rounding only; an int8 file below 15 dB has something wrong with it, and
#: weights alone in int8 cost less. The zoo lies well above (benchmarks/RESULTS.md). Cosine: noise of 15 dB alone gives
#: 0.984; below 0.98 is more than noise.
#:
#: What is no weight of an operator, normalisation parameters and biases, stays float or int32 in every runtime; in
#: small files it counts. So half of the weights are enough, and three quarters where storage is all that is promised.
#:
#: 4 bits: half of the weights as well, since embeddings, norms and what no kernel takes stay higher. Weights that are
#: spread like a normal distribution have 17 to 20 dB on a grid of 15 numbers; a dozen layers make 10 dB of it.
SCHEMES: Mapping[Precision, Scheme] = MappingProxyType({scheme.name: scheme for scheme in (
    Scheme(
        name="int4-dynamic", weights="int4", activations="int8", dynamic=True, granularity="channel", stored=0.5,
        floors=Floors(sqnr_db=10, cosine=0.95, variation_db=8, channel_db=4, equal=0.85),
    ),
    Scheme(
        name="8da4w", weights="int4", activations="int8", dynamic=True, granularity="block", group=32, stored=0.5,
        floors=Floors(sqnr_db=10, cosine=0.95, variation_db=8, channel_db=4, equal=0.85),
    ),
    Scheme(
        name="int4", weights="int4", activations="float32", granularity="block", group=32, stored=0.5,
        floors=Floors(sqnr_db=10, cosine=0.95, variation_db=8, channel_db=4, equal=0.85),
    ),
    Scheme(
        name="int4-64", weights="int4", activations="float32", granularity="block", group=64, stored=0.5,
        floors=Floors(sqnr_db=10, cosine=0.95, variation_db=8, channel_db=4, equal=0.85),
    ),
    Scheme(
        name="lut4", weights="lut4", activations="float32", granularity="channel", stored=0.5,
        floors=Floors(sqnr_db=10, cosine=0.95, variation_db=8, channel_db=4, equal=0.85),
    ),
    Scheme(
        name="int8", weights="int8", activations="int8", granularity="channel", stored=0.5, integers=0.9,
        floors=Floors(sqnr_db=15, cosine=0.98, variation_db=15, channel_db=8, equal=0.90),
    ),
    Scheme(
        name="int8-dynamic", weights="int8", activations="int8", dynamic=True, granularity="channel", stored=0.75,
        floors=Floors(sqnr_db=20, cosine=0.99, variation_db=20, channel_db=10, equal=0.95),
    ),
    Scheme(
        name="int8-weights", weights="int8", activations="float32", granularity="channel", stored=0.75,
        floors=Floors(sqnr_db=20, cosine=0.98, variation_db=20, channel_db=10, equal=0.95),
    ),
    Scheme(
        name="int16x8", weights="int8", activations="int16", granularity="channel", stored=0.5, integers=0.9,
        floors=Floors(sqnr_db=20, cosine=0.99, variation_db=20, channel_db=10, equal=0.95),
    ),
    Scheme(
        name="fp16", weights="float16", activations="float16", stored=0.5,
        floors=Floors(sqnr_db=55, cosine=0.999, variation_db=30, channel_db=20, equal=0.97),
    ),
    Scheme(
        name="fp32", weights="float32", activations="float32", stored=1.0,
        floors=Floors(sqnr_db=95, cosine=0.9999, variation_db=60, channel_db=40, equal=0.99),
    ),
)})  # fmt: skip
#: What every float twin is in.
FP32 = SCHEMES["fp32"]


def find(name: Precision) -> Scheme:
    """The scheme of a precision; raises ``UsageError`` with the nearest name."""
    if name not in SCHEMES:
        close = difflib.get_close_matches(name, SCHEMES, n=1, cutoff=0.5)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"unknown precision {name!r}; {meant}known: {', '.join(SCHEMES)}")
    return SCHEMES[name]
