"""Normal numbers from uniform ones, the same bits on every machine.

Wichura's `Algorithm AS 241 <https://doi.org/10.2307/2347330>`_ (1988): the quantile
of the normal distribution as a quotient of polynomials in three regions. The
logarithm that its tails need is a series of ours: a library's may differ in the
last bit between machines.
"""

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

_LN2 = 0.6931471805599453
_EDGE = 0.425  # of the central region, counted from 1/2
_TURN = 5.0  # sqrt(-log p) where the tail's second formula starts
_CENTRE = (
    (
        2509.0809287301226727,
        33430.575583588128105,
        67265.770927008700853,
        45921.953931549871457,
        13731.693765509461125,
        1971.5909503065514427,
        133.14166789178437745,
        3.3871328727963666080,
    ),
    (
        5226.4952788528545610,
        28729.085735721942674,
        39307.895800092710610,
        21213.794301586595867,
        5394.1960214247511077,
        687.18700749205790830,
        42.313330701600911252,
        1.0,
    ),
)
_TAIL = (
    (
        7.74545014278341407640e-4,
        2.27238449892691845833e-2,
        2.41780725177450611770e-1,
        1.27045825245236838258,
        3.64784832476320460504,
        5.76949722146069140550,
        4.63033784615654529590,
        1.42343711074968357734,
    ),
    (
        1.05075007164441684324e-9,
        5.47593808499534494600e-4,
        1.51986665636164571966e-2,
        1.48103976427480074590e-1,
        6.89767334985100004550e-1,
        1.67638483018380384940,
        2.05319162663775882187,
        1.0,
    ),
)
_FAR = (
    (
        2.01033439929228813265e-7,
        2.71155556874348757815e-5,
        1.24266094738807843860e-3,
        2.65321895265761230930e-2,
        2.96560571828504891230e-1,
        1.78482653991729133580,
        5.46378491116411436990,
        6.65790464350110377720,
    ),
    (
        2.04426310338993978564e-15,
        1.42151175831644588870e-7,
        1.84631831751005468180e-5,
        7.86869131145613259100e-4,
        1.48753612908506148525e-2,
        1.36929880922735805310e-1,
        5.99832206555887937690e-1,
        1.0,
    ),
)


def inverse(p: Doubles) -> Doubles:
    """The normal quantile of each p in (0, 1).

    Example:
        >>> inverse(np.array([0.5, 0.975])).round(6).tolist()
        [0.0, 1.959964]
    """
    q = p - 0.5
    x = q * _quotient(_CENTRE, 0.180625 - q * q)
    outer = np.abs(q) > _EDGE
    r = np.sqrt(-_log(np.where(q < 0, p, 1 - p)[outer]))
    far = np.where(r <= _TURN, _quotient(_TAIL, r - 1.6), _quotient(_FAR, r - _TURN))
    x[outer] = np.where(q[outer] < 0, -far, far)
    return x


def _quotient(both: tuple[tuple[float, ...], tuple[float, ...]], x: Doubles) -> Doubles:
    return _polynomial(both[0], x) / _polynomial(both[1], x)


def _polynomial(factors: tuple[float, ...], x: Doubles) -> Doubles:
    total = np.full_like(x, factors[0])
    for factor in factors[1:]:
        total = total * x + factor
    return total


def _log(x: Doubles) -> Doubles:
    mantissa, exponent = np.frexp(x)
    f = (mantissa - 1) / (mantissa + 1)
    odd = tuple(2 / (2 * k + 1) for k in range(17, -1, -1))
    log: Doubles = f * _polynomial(odd, f * f) + exponent * _LN2
    return log
