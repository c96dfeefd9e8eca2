# Everything a day's work does to a tree, run by dash inside the mount. Nothing here may depend on the clock, on chance
# or on which filesystem this is: what it prints and what it leaves behind is compared byte by byte.
set -eu
export PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/root LC_ALL=C TZ=UTC PYTHONHASHSEED=0
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org
export GIT_AUTHOR_DATE='2024-01-01T00:00:00Z' GIT_COMMITTER_DATE='2024-01-02T00:00:00Z' GIT_PAGER=cat
python=$(ls /usr/bin/python3.*)
umask 022

# Type, mode, owner, links, size (not of directories: each filesystem has its own idea) and name, sorted.
tree() {
    find "$@" -type d -printf '%y %m %U:%G %p\n' -o -printf '%y %m %U:%G %n %s %p %l\n' | LC_ALL=C sort -k6
}

part() {
    echo "== $*"
}

part removed layers
# Gone by a whiteout, replaced by an opaque directory, a directory replaced by a file and the other way round.
for gone in /usr/share/doc/git /usr/share/doc/perl-base /usr/lib/python3.*/distutils /usr/share/man; do
    test ! -e "$gone" || echo "still there: $gone"
done
ls /usr/share/bug
cat /etc/motd-of-layers /usr/share/common-licenses

part python
$python /real/imports.py
$python -c 'import re, json; print(json.dumps(sorted(re.findall("[a-z]+", "the merged view"))))'

part perl and busybox
perl -e 'opendir(D, "/usr/bin") or die; my @a = readdir(D); rewinddir(D); my $n = 0; my $t;
    while (defined(my $e = readdir(D))) { $t = telldir(D) if ++$n == 5 } seekdir(D, $t); my @b = readdir(D);
    print scalar(@a) == $n && scalar(@b) == $n - 5 ? "consistent\n" : "inconsistent\n";
    rename("/usr/bin/perl", "/usr/bin/perl.new") or die; rename("/usr/bin/perl.new", "/usr/bin/perl") or die;'
busybox find /usr/include -name 'std*.h' | busybox sort
busybox cp -a /usr/include/linux /srv/linux
busybox find /srv/linux -name '*.h' -exec busybox sed -i 's/Linux/LINUX/' {} +
busybox grep -rl LINUX /srv/linux | busybox wc -l
busybox rm -r /srv/linux

part git
mkdir -p /srv/repo
cd /srv/repo
git -c init.defaultBranch=main init -q .
cp -a /usr/share/perl /usr/lib/git-core/git-sh-setup . 2>/dev/null || cp -a /usr/lib/git-core/git-sh-setup .
for n in 1 2 3 4 5 6 7 8 9 10; do
    seq "$n" 200 > "numbers-$((n % 4)).txt"
    mkdir -p "dir$n/sub"
    echo "$n" > "dir$n/sub/file"
    git add -A
    git commit -q -m "commit $n"
done
git checkout -q -b side HEAD~3
git mv dir1 moved
echo side > side.txt
git add -A
git commit -q -m side
git checkout -q main
git merge -q --no-edit side
git tag v1
git checkout -q HEAD~5
git checkout -q main
git branch -D side -q
git stash list
git -c gc.auto=0 -c pack.threads=1 gc -q --prune=now
git fsck --full --strict
git status --porcelain
git log --format='%H %s' --graph
git ls-files -s | tail -n 3
# The index remembers inode numbers and times, so it cannot be the same twice.
rm .git/index
cd /

part tar
tar --sort=name --numeric-owner -cf /srv/include.tar -C /usr include
sha256sum /srv/include.tar
mkdir /srv/unpacked
tar -xpf /srv/include.tar -C /srv/unpacked
diff -r /usr/include /srv/unpacked/include && echo same
# Unpacking over what lower layers hold: every file is replaced.
tar -xpf /srv/include.tar -C /usr
tar --sort=name --numeric-owner -cf - -C /usr include | sha256sum
gzip -9 -n /srv/include.tar
gzip -l /srv/include.tar.gz | tail -n 1

part c
mkdir -p /srv/c
cp /real/hello.c /srv/c
tcc -o /srv/c/hello /srv/c/hello.c
/srv/c/hello /srv/c/data
tcc -run /real/hello.c /srv/c/data2
cmp /srv/c/data /srv/c/data2 && echo same
# A running program may not be written to, and a new one replaces it by name.
cp /srv/c/hello /srv/c/hello2
mv /srv/c/hello2 /srv/c/hello
/srv/c/hello /srv/c/data

part sqlite
for mode in delete wal truncate; do
    sqlite3 "/srv/$mode.db" < /real/transactions.sql
    sqlite3 "/srv/$mode.db" "PRAGMA journal_mode=$mode; BEGIN; DELETE FROM t WHERE n % 3 = 0; ROLLBACK;
        BEGIN; UPDATE t SET s = s || '!' WHERE n % 5 = 0; COMMIT; PRAGMA wal_checkpoint(TRUNCATE);
        PRAGMA integrity_check; SELECT count(*), sum(n), sum(length(s)) FROM t;"
done
$python /real/sqlite_threads.py /srv/threads.db
# A database of a lower layer: read first (no copy-up), then changed.
sqlite3 /real/lower.db 'SELECT count(*) FROM t; INSERT INTO t SELECT n + 5000, s FROM t; PRAGMA integrity_check;'

part remove
rm -rf /usr/lib/python3.*/asyncio /usr/share/locale /usr/lib/x86_64-linux-gnu/gconv /usr/share/zsh
find /usr/lib/python3.* -name '*.py' -path '*/json/*' -delete
mkdir /usr/lib/x86_64-linux-gnu/gconv
echo new > /usr/lib/x86_64-linux-gnu/gconv/only-this
ls -A /usr/lib/x86_64-linux-gnu/gconv
rmdir /usr/share/misc 2>/dev/null && echo removed || echo not removed

part move
mv /usr/include/stdio.h /usr/include/moved.h
mv /usr/include/stdlib.h /srv/stdlib.h
mv /usr/include/string.h /usr/include/moved.h
mkdir -p /srv/new/a/b
echo x > /srv/new/a/b/c
mv /srv/new /usr/include/new
mv /usr/include/new/a /srv/a
mv /srv/a /usr/include/net2
# A directory of a lower layer: mv copies it where rename says EXDEV; both must end the same.
mv /usr/include/arpa /srv/arpa
mv /srv/arpa /usr/include/arpa
tree /usr/include/net2 /usr/include/arpa /srv/stdlib.h

part links
ln /usr/bin/sort /srv/sort
ln /srv/sort /srv/sort2
chmod 700 /srv/sort2
stat -c '%a %h %n' /srv/sort /srv/sort2 /usr/bin/sort
ln -s ../bin/sort /srv/link
ln -sfn nowhere /usr/bin/python-link
readlink /srv/link /usr/bin/python-link
ln /usr/lib/git-core/git-add /srv/git-add 2>/dev/null || true
rm -f /srv/sort
test /srv/sort2 -ef /usr/bin/sort && echo one file
cp -a /usr/bin/perl* /srv/
mkfifo -m 640 /srv/fifo
(echo through a fifo > /srv/fifo) & cat /srv/fifo
wait

part attributes
chmod 4755 /bin/true
chown 1:2 /bin/false
touch -d '2001-02-03 04:05:06.789' /bin/cat
stat -c '%a %u:%g %Y %n' /bin/true /bin/false /bin/cat
truncate -s 100 /bin/egrep
truncate -s 1M /srv/sparse
stat -c '%s %n' /bin/egrep /srv/sparse
dd if=/bin/grep of=/srv/dd bs=4096 skip=3 count=5 2>/dev/null
sha256sum /srv/dd
dd if=/dev/zero of=/bin/zgrep bs=1 seek=10 count=3 conv=notrunc 2>/dev/null
printf 'one more line\n' >> /etc/issue
sed -i 's/Debian/Nobody/' /etc/issue.net /etc/debian_version
cat /etc/issue /etc/issue.net /etc/debian_version

part everything
# Whole tree; sqlite's and git's own files were compared by their tools, and all content by the judge outside.
tree / -xdev \( -path /proc -o -path /dev \) -prune -o
find / -xdev -name '*.so*' -type f -exec sha256sum {} + | sort -k2 | sha256sum
du -s --apparent-size --inodes /srv/repo/.git/objects | cut -f1
