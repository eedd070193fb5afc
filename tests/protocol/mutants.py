"""The mutants: one change each, and the scene and property in which it must fail."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    name: str
    scene: str
    breaks: str  # how the violation begins: the property's number


MUTANTS = tuple(
    Mutant(name=name, scene=scene, breaks=breaks)
    for name, scene, breaks in (
        ("no closed check", "expiry", "S2"),
        ("closed read before begin", "expiry", "S2"),
        ("begins listed before closed", "expiry", "S2"),
        ("no fence", "expiry", "S2"),
        ("fences deleted", "expiry", "S2"),
        ("no second look", "expiry", "S2"),
        ("fence taken for success", "expiry", "S2"),
        ("outcome before packs", "expiry", "S1"),
        ("no expired", "expiry", "S1"),
        ("no floor check", "wal", "S1"),
        ("no floor", "wal", "S1"),
        ("open sessions ignored for WAL", "wal", "S1"),
        ("no newer rule", "expiry", "S3"),
        ("proof not looked at again", "proofs", "S3"),
        ("destination fence without scope", "fence at the copy", "S6"),
        ("home fence without scope", "diverged", "S6"),
        # tempting ones
        ("parent's commit not checked", "orphan", "S1"),
        ("no check of the listing", "wal", "S1"),
        ("unknown begin taken for there", "expiry", "S2"),
        ("unknown outcome taken for success", "expiry", "S2"),
        ("unknown outcome called failed", "expiry", "S2"),
        ("store overwrites", "expiry", "S4"),
        ("a closed generation counts as proven", "proofs", "S3"),
        ("limit of the first listing alone", "wal", "S1"),
        ("limit of the second listing alone", "wal", "S1"),
        ("no islands", "wal", "S1"),
        ("packs deleted without patience", "patient", "S5b"),
        ("copier looks before begin", "copies", "S1"),
        ("copier checks nothing there", "copies", "S1"),
        ("copier does not look", "diverged", "S2"),
        ("copier goes on after a fence", "diverged", "S1"),
        ("fences are copied", "union", "S7"),
        # holes of the specification's first text, as mutants of the amended one
        ("newer and sound by different commits", "damaged", "S3"),
        ("newest not counted for WAL", "wal", "S1"),
        ("WAL deleted without patience", "patient", "S5b"),
        ("floor not read by restores", "proofs", "S5"),
        ("one floor for all timelines", "rewound", "never happens: writer w1: outcome"),
    )
)
