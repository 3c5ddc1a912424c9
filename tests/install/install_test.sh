#!/bin/sh
# install_test.sh BUILD_DIR SOURCE_DIR
# find_package(Tamis) from an installed tree; the README's C++ example and those of examples/ are
# compiled and run there.
set -eu
build=$1
source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
models=$source/tests/fixtures/models

cmake --install "$build" --prefix "$work/prefix" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

# The example is what stands in the README between ```cpp and ```.
awk '/^```cpp$/ {on = 1; next} /^```$/ {on = 0} on' "$source/README.md" >"$work/main.cc"
if ! grep -q 'int main' "$work/main.cc"; then
  echo "README.md: no C++ example with a main function found"
  exit 1
fi
cp "$source/tests/install/consumer/CMakeLists.txt" "$work/CMakeLists.txt"
cp -r "$source/examples" "$work/examples"
cmake -S "$work" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" >"$work/log" 2>&1 &&
  cmake --build "$work/build" >>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

# run NAME ARGUMENT...: the program must succeed and print something.
run() {
  name=$1
  shift
  "$work/build/$name" "$@" >"$work/out" 2>&1 || { echo "$name failed:"; cat "$work/out"; exit 1; }
  [ -s "$work/out" ] || { echo "$name printed nothing"; exit 1; }
  echo "$name: installed, found, compiled and run:"
  cat "$work/out"
}
# The tiny fixture models stand in for the directories that the examples name.
run consumer "$models/xlmr-ce" sim:0
run embed_cc "$models/xlmr-m3" "what is a tamis" "a drum sieve" "the sky"
run score_c "$models/xlmr-ce" "what is a tamis" "a drum sieve" "the sky"
run embed_c "$models/xlmr-m3" "a drum sieve"
run embed_c "$models/xlmr-bi-mean" "a drum sieve"

# A failure has a code, a message and no crash.
if "$work/build/score_c" "$work/away" a b >"$work/out" 2>&1; then
  echo "score_c took a model that is not there"
  exit 1
fi
grep -q 'error 2: .*away' "$work/out" || { cat "$work/out"; exit 1; }

# Only the C interface can be seen in the shared library.
if nm -D --defined-only "$work/prefix/lib/libtamis_c.so" | grep -v ' tamis_'; then
  echo "libtamis_c exports more than its interface"
  exit 1
fi
