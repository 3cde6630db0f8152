"""The daemon that owns a Rockchip NPU and serves it as JSON-RPC over a Unix socket."""

__version__ = "0.2.0"
