#!/bin/sh
# Write the King James Bible as plain text (kjv.txt, 4.14 MB) into the folder named by the first argument.
#
# It comes from the Debian packages bible-kjv-text (the text, public domain: "The copyright for the King James Version
# text of the Bible is expired", its copyright file says) and bible-kjv (the program that unpacks it, GPL-2+; used here,
# not shipped).  No root is needed; the machine must be amd64 Debian or a relative of it, with libreadline8.
#
# One verse a line, an empty line between chapters, no numbers and no titles: 31,102 verses in 1,189 chapters.
set -eu
target=${1:?usage: fetch_kjv.sh FOLDER}
mkdir -p "$target"
target=$(cd "$target" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
apt-get download bible-kjv-text bible-kjv
for package in ./*.deb; do dpkg -x "$package" .; done
# -f -l9999 puts "Ge1:1 In the beginning ..." on one line a verse.
usr/bin/bible -f -l9999 -d bible.data -p usr/lib gen1:1-rev22:21 </dev/null >verses
awk '{
    place = $1; sub(/:[0-9]+$/, "", place)
    if (NR > 1 && place != chapter) print ""
    chapter = place
    sub(/^[^ ]+ /, ""); gsub(/  +/, " "); sub(/ +$/, "")
    print
}' verses >kjv.txt
verses=$(grep -c . kjv.txt)
if [ "$verses" -ne 31102 ]; then
    echo "fetch_kjv.sh: $verses verses instead of 31102; is this another version of the package?" >&2
    exit 1
fi
mv kjv.txt "$target/kjv.txt"
echo "$target/kjv.txt: $(wc -c <"$target/kjv.txt") bytes, sha256 $(sha256sum "$target/kjv.txt" | cut -c1-16)"
