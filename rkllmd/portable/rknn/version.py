"""Which version of the vendor's library the portable RKNN runtime stands for."""

VERSION = "2.3.2"
