/*
 * table.c on an image file, for the tests: image FILE PARTITION START [WRITES]
 *
 * WRITES cuts the power: after that many writes the program dies, as the board would.
 */
#define _FILE_OFFSET_BITS 64
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

#include "table.c"

static int file;
static long budget = -1;

static int read_disk(u64 offset, void *to, u32 len)
{
	return pread(file, to, len, (off_t)offset) != (ssize_t)len;
}

static int write_disk(u64 offset, const void *from, u32 len)
{
	if (budget == 0) {
		printf("cut\n");
		exit(3);
	}
	if (budget > 0)
		budget--;
	return pwrite(file, from, len, (off_t)offset) != (ssize_t)len;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "grown", "full", "unknown", "io error" };
	struct stat stat;
	struct grow g = { .shift = 9 };
	enum result result;

	if (argc < 4)
		return 2;
	file = open(argv[1], O_RDWR);
	if (file < 0 || fstat(file, &stat))
		return 2;
	g.sectors = (u64)stat.st_size >> 9;
	g.number = (u32)atoi(argv[2]);
	g.start = strtoull(argv[3], NULL, 10);
	if (argc > 4)
		budget = atol(argv[4]);
	result = grow_partition(&g);
	if (result == UNKNOWN)
		printf("unknown: %s\n", g.why);
	else
		printf("%s %llu\n", names[result], g.size);
	return 0;
}
