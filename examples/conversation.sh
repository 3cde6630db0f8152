#!/bin/sh
# A streamed answer with socat, and a whole one with nc. RKLLM_UDS_PATH names another socket.
socket=${RKLLM_UDS_PATH:-/tmp/rkllm.sock}

echo '{"jsonrpc":"2.0","id":1,"method":"rkllm.run_async","params":{"prompt":"What is an NPU?"}}' |
    socat -t 600 - "UNIX-CONNECT:$socket"

printf '%s\n' \
    '{"jsonrpc":"2.0","id":"status","method":"server.status"}' \
    '{"jsonrpc":"2.0","id":"answer","method":"rkllm.run","params":{"role":"user","prompt":"Hello"}}' |
    nc -N -U "$socket"
