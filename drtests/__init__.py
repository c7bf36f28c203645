"""drtests: prove, on a schedule and with evidence, that you can recover from a disaster."""

__version__ = "0.1.0"
