"""One member: its log, its disk, its clock, and the replica that joins them."""
