#!/bin/sh
# Builds TVM's CUDA runtime with the CUDA of this board, and puts it where the TVM of a Python looks for it:
#
#   sh build_cuda_runtime.sh PYTHON TVM_SOURCES [CUDA]
#
# PYTHON       has apache-tvm from a wheel, such as ~/tvm/bin/python
# TVM_SOURCES  a checkout of TVM of the same version; no submodules, nothing built
# CUDA         the toolkit's folder; /usr/local/cuda if left out
#
# The wheel's own one, for CUDA 13, is kept as libtvm_runtime_cuda.so.wheel. Needs g++ 9 or newer.
set -eu
[ $# -ge 2 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
python=$1 sources=$2 cuda=${3:-/usr/local/cuda}
here=$(cd "$(dirname "$0")" && pwd)

graphs=$(find "$sources/src" -path '*cuda*' -name cuda_graph_builtin.cc) || true
for file in "$sources/src/backend/cuda/runtime/cuda_module.cc" "$cuda/include/cuda_runtime.h" "$graphs"; do
    [ -f "$file" ] || { echo "${file:-cuda_graph_builtin.cc} is missing: give the folders of TVM and CUDA" >&2; exit 2; }
done
cuda=$(cd "$cuda" && pwd)
folder() { "$python" -c "import importlib.util as u; print(u.find_spec('$1').submodule_search_locations[0])"; }
tvm=$(folder tvm) ffi=$(folder tvm_ffi)
built=$tvm/lib/libtvm_runtime_cuda.so

g++ -shared -fPIC -O2 -std=c++17 -DNDEBUG -include "$here/older_cuda.h" \
    -I"$cuda/include" -I"$sources/include" -I"$sources/src" -I"$ffi/include" \
    "$sources/src/backend/cuda/runtime/cuda_module.cc" "$sources/src/backend/cuda/runtime/cuda_device_api.cc" \
    "$graphs" -o "$built.new" -Wl,--no-undefined -Wl,-rpath,"\$ORIGIN:$ffi/lib:$cuda/lib64" \
    -L"$tvm/lib" -ltvm_runtime -L"$ffi/lib" -ltvm_ffi -L"$cuda/lib64" -L"$cuda/lib64/stubs" -lcudart -lcuda

[ -e "$built.wheel" ] || mv "$built" "$built.wheel"
mv "$built.new" "$built"
"$python" -c "
import ctypes, sys, tvm
ctypes.CDLL(sys.argv[1])  # TVM itself does not say why it would not load
gpu = tvm.cuda(0)
print('GPU 0:', gpu.device_name, gpu.compute_version) if gpu.exist else print('it loads, and finds no GPU')
" "$built"
