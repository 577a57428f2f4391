"""All faults in the order of the table."""

from tests.faults import disk, grading, judging, kills, sharing, torn, training

FAULTS = [
    *kills.FAULTS,
    *judging.KILLS,
    *training.KILLS,
    *sharing.SIGNALS,
    *judging.SIGNALS,
    *training.SIGNALS,
    *torn.FAULTS,
    *training.TORN,
    *disk.FAULTS,
    *sharing.WRITERS,
    *sharing.RESUME,
    *training.RESUME,
    *grading.FAULTS,
    *judging.FAULTS,
]
KINDS = list(dict.fromkeys(fault.kind for fault in FAULTS))
