#!/bin/sh
# A container from a small base, a file of 200 MB in it, a commit, a container of the new layer: on both drivers, with
# times and bytes. As root: `benches/walk.sh [DIR]`, DIR on a filesystem that nobody else writes to; PLYFS is the program.
set -eu
PLYFS=${PLYFS:-target/release/plyfs}
place=$(mktemp -d -p "${1:-${TMPDIR:-/tmp}}" walk.XXXXXX)
mounted=
tidy() {
    [ -z "$mounted" ] || plyfs container unmount "$mounted" || true
    rm -rf "$place"
}
trap tidy EXIT
trap 'exit 130' INT TERM

plyfs() { "$PLYFS" -q --root "$place/$driver" --run "$place/run-$driver" "$@"; }
bytes() { df -B1 --output=used "$place" | tail -n 1; }
# step WORDS COMMAND...: runs it, says how long it took and what more is in use on the filesystem; its output is in $said.
step() {
    words=$1 before=$(bytes)
    shift
    start=$(date +%s%N)
    said=$("$@")
    end=$(date +%s%N)
    sync -f "$place"
    printf '| %s | %s | %d.%d ms | %d KiB |\n' "$driver" "$words" $(((end - start) / 1000000)) \
        $(((end - start) / 100000 % 10)) $((($(bytes) - before) / 1024))
}
write() { head -c 200M /dev/urandom > "$1"; }

mkdir -p "$place/base/bin" "$place/base/etc"
cp /bin/true "$place/base/bin/"
echo walk > "$place/base/etc/hostname"
printf '| driver | step | time | bytes on disk |\n|---|---|---|---|\n'
for driver in overlay vfs; do
    plyfs --driver "$driver" store init > /dev/null
    step "the base becomes a layer" plyfs layer create --from-dir "$place/base" --name base
    step "a container of it" plyfs container create --layer base
    container=$said
    step "mount it" plyfs container mount "$container"
    mounted=$container seen=$said
    step "write 200 MB into it" write "$seen/big"
    step "unmount it" plyfs container unmount "$container"
    mounted=
    step "commit: a layer beside the container" plyfs container commit "$container" --name copied
    step "commit --rm: the container becomes a layer" plyfs container commit --rm "$container" --name renamed
    step "a container of the new layer" plyfs container create --layer renamed
    container=$said
    step "mount it" plyfs container mount "$container"
    mounted=$container
    [ "$(stat -c %s "$said/big")" = 209715200 ] || { echo "the file is not there" >&2; exit 1; }
    cmp -s "$said/etc/hostname" "$place/base/etc/hostname" || { echo "the base is not there" >&2; exit 1; }
    step "unmount it" plyfs container unmount "$container"
    mounted=
done
