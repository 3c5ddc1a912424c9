#!/bin/sh
# install_test.sh BUILD_DIR SOURCE_DIR
# find_package(Tamis) from an installed tree, and the README's C++ example compiled and run there.
set -eu
build=$1
source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

# The example is what stands in the README between ```cpp and ```.
awk '/^```cpp$/ {on = 1; next} /^```$/ {on = 0} on' "$source/README.md" >"$work/main.cc"
if ! grep -q 'int main' "$work/main.cc"; then
  echo "README.md: no C++ example with a main function found"
  exit 1
fi
cp "$source/tests/install/consumer/CMakeLists.txt" "$work/CMakeLists.txt"
cmake -S "$work" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" >"$work/log" 2>&1 &&
  cmake --build "$work/build" >>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

# The tiny fixture model stands in for the directory that the example names.
"$work/build/consumer" "$source/tests/fixtures/models/xlmr-ce" sim:0 >"$work/out" || { cat "$work/out"; exit 1; }
if ! [ -s "$work/out" ]; then
  echo "the example printed nothing"
  exit 1
fi
echo "installed, found, compiled and run:"
cat "$work/out"
