/* Writes a file in four ways, reads it back through a map, and prints what it saw. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct stat st;
    struct iovec parts[2] = {{"writev ", 7}, {"parts\n", 6}};
    int fd = open(argv[argc - 1], O_RDWR | O_CREAT | O_TRUNC, 0640);
    if (fd < 0 || write(fd, "write\n", 6) != 6 || writev(fd, parts, 2) != 13 || pwrite(fd, "W", 1, 0) != 1
        || ftruncate(fd, 8192) || fsync(fd) || fstat(fd, &st))
        return 1;
    char *map = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return 2;
    map[4096] = 'm';
    if (msync(map, 8192, MS_SYNC) || pread(fd, map + 1, 1, 4096) != 1)
        return 3;
    printf("%ld bytes, mode %o: %.19s%c\n", (long)st.st_size, st.st_mode & 07777, map, map[4096]);
    return close(fd);
}
