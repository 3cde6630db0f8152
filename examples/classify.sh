#!/bin/sh
# Classify a picture with socat, its pixels as base64. RKLLM_UDS_PATH names another socket, the first argument a picture
# (PPM, 48 x 48), the second a model. Both requests are sent at once: the second waits for the first.
here=$(cd "$(dirname "$0")" && pwd)
socket=${RKLLM_UDS_PATH:-/tmp/rkllm.sock}
picture=${1:-$here/seven.ppm}
model=${2:-$here/../rkllmd/portable/demo/digits.onnx}

pixels=$(tail -c 6912 "$picture" | base64 -w 0)
printf '%s\n' \
    '{"jsonrpc":"2.0","id":1,"method":"rknn.init","params":{"model_path":"'"$(realpath "$model")"'"}}' \
    '{"jsonrpc":"2.0","id":2,"method":"rknn.infer","params":{"inputs":"'"$pixels"'","top_k":3}}' |
    socat -t 600 - "UNIX-CONNECT:$socket"
