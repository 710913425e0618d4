/*
 * bimg-grow: makes the root partition and its ext4 fill the disk, while mounted.
 *
 * Run by the first boot. No arguments, no libc: the board's kernel toolchain compiles it, so that it works
 * on any root filesystem and costs 10 KiB instead of the megabytes of sfdisk, partx and resize2fs.
 *
 *   root's device number (statx) -> /sys/dev/block/MAJOR:MINOR: partition number, start, disk
 *   -> partition table (table.c) -> BLKPG_RESIZE_PARTITION -> EXT4_IOC_RESIZE_FS
 *
 * The device node is our own: the kernel calls the mounted root /dev/root, which does not exist.
 * Each step first looks whether it is done, so a run after a power cut completes what is missing.
 */
#include "table.c"

#if defined(__aarch64__) || (defined(__riscv) && __riscv_xlen == 64)
enum { SYS_read = 63, SYS_write = 64, SYS_openat = 56, SYS_close = 57, SYS_ioctl = 29, SYS_fsync = 82,
       SYS_preadv = 69, SYS_pwritev = 70, SYS_mknodat = 33, SYS_unlinkat = 35, SYS_exit = 93, SYS_statx = 291 };
#elif defined(__arm__)
enum { SYS_read = 3, SYS_write = 4, SYS_openat = 322, SYS_close = 6, SYS_ioctl = 54, SYS_fsync = 118,
       SYS_preadv = 361, SYS_pwritev = 362, SYS_mknodat = 324, SYS_unlinkat = 328, SYS_exit = 1, SYS_statx = 397 };
#elif defined(__x86_64__)
enum { SYS_read = 0, SYS_write = 1, SYS_openat = 257, SYS_close = 3, SYS_ioctl = 16, SYS_fsync = 74,
       SYS_preadv = 295, SYS_pwritev = 296, SYS_mknodat = 259, SYS_unlinkat = 263, SYS_exit = 60, SYS_statx = 332 };
#else
#error "no system calls for this architecture"
#endif

#if defined(__aarch64__)
#define NR register long nr __asm__("x8") = n
#define ARG(i, value) register long r##i __asm__("x" #i) = value
#define CALL __asm__ volatile("svc 0" : "+r"(r0) : "r"(nr), "r"(r1), "r"(r2), "r"(r3), "r"(r4) : "memory")
#elif defined(__riscv)
#define NR register long nr __asm__("a7") = n
#define ARG(i, value) register long r##i __asm__("a" #i) = value
#define CALL __asm__ volatile("ecall" : "+r"(r0) : "r"(nr), "r"(r1), "r"(r2), "r"(r3), "r"(r4) : "memory")
#elif defined(__arm__)
#define NR register long nr __asm__("r7") = n
#define ARG(i, value) register long r##i __asm__("r" #i) = value
#define CALL __asm__ volatile("svc 0" : "+r"(r0) : "r"(nr), "r"(r1), "r"(r2), "r"(r3), "r"(r4) : "memory")
#endif

static long call(long n, long a, long b, long c, long d, long e)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	__asm__ volatile("syscall" : "+a"(n) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return n;
#else
	NR;
	ARG(0, a);
	ARG(1, b);
	ARG(2, c);
	ARG(3, d);
	ARG(4, e);
	CALL;
	return r0;
#endif
}

/* The compiler may call these even without a libc. */
void *memset(void *to, int value, unsigned long len)
{
	for (volatile u8 *at = to; len--;)
		*at++ = (u8)value;
	return to;
}

void *memcpy(void *to, const void *from, unsigned long len)
{
	const u8 *source = from;
	for (volatile u8 *at = to; len--;)
		*at++ = *source++;
	return to;
}

enum { AT_FDCWD = -100, O_RDONLY = 0, O_RDWR = 2, S_IFBLK = 0060000 };
#define BLKPG 0x1269
#define BLKPG_RESIZE_PARTITION 3
#define EXT4_IOC_RESIZE_FS 0x40086610ul /* _IOW('f', 16, __u64) */

static int disk;

struct iovec { void *base; unsigned long len; };

/* Offsets as two longs: the one form that is the same on every architecture. */
static int transfer(long number, u64 offset, const void *data, u32 len)
{
	struct iovec part = { (void *)data, len };
	long high = sizeof(long) == 4 ? (long)(offset >> 32) : 0;
	return call(number, disk, (long)&part, 1, (long)offset, high) != (long)len;
}

static int read_disk(u64 offset, void *to, u32 len)
{
	return transfer(SYS_preadv, offset, to, len);
}

static int write_disk(u64 offset, const void *from, u32 len)
{
	return transfer(SYS_pwritev, offset, from, len) || call(SYS_fsync, disk, 0, 0, 0, 0) != 0;
}

static void say(const char *text)
{
	u32 len = 0;
	while (text[len])
		len++;
	call(SYS_write, 1, (long)text, len, 0, 0);
}

/* Appends a string or, with `text` null, a number. */
static char *append(char *to, const char *text, u32 number)
{
	static const u32 powers[] = { 1000000000, 100000000, 10000000, 1000000, 100000, 10000, 1000, 100, 10, 1 };
	int started = 0;
	if (text) {
		while (*text)
			*to++ = *text++;
		*to = 0;
		return to;
	}
	for (int i = 0; i < 10; i++) {
		char digit = '0';
		for (; number >= powers[i]; number -= powers[i])
			digit++;
		started |= digit != '0' || i == 9;
		if (started)
			*to++ = digit;
	}
	*to = 0;
	return to;
}

static int fail(const char *why)
{
	say("bimg: the root filesystem keeps its size: ");
	say(why);
	say("\n");
	return 1;
}

/* One attribute below /sys/dev/block/MAJOR:MINOR, as text. */
static int attribute(u32 major, u32 minor, const char *name, char *to, u32 room)
{
	char path[96], *at = append(path, "/sys/dev/block/", 0);
	long file, len;
	at = append(append(append(append(at, 0, major), ":", 0), 0, minor), "/", 0);
	append(at, name, 0);
	file = call(SYS_openat, AT_FDCWD, (long)path, O_RDONLY, 0, 0);
	if (file < 0)
		return -1;
	len = call(SYS_read, file, (long)to, room - 1, 0, 0);
	call(SYS_close, file, 0, 0, 0, 0);
	if (len < 0)
		return -1;
	to[len] = 0;
	return 0;
}

static const char *number(const char *text, u64 *value)
{
	for (*value = 0; *text >= '0' && *text <= '9'; text++)
		*value = (*value << 3) + (*value << 1) + (u64)(*text - '0');
	return text;
}

static int numeric(u32 major, u32 minor, const char *name, u64 *value)
{
	char text[32];
	if (attribute(major, minor, name, text, sizeof text))
		return -1;
	number(text, value);
	return 0;
}

static int open_node(u32 major, u32 minor, int flags)
{
	static const char path[] = "/dev/.bimg-grow";
	u32 device = (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
	long file;
	call(SYS_unlinkat, AT_FDCWD, (long)path, 0, 0, 0);
	if (call(SYS_mknodat, AT_FDCWD, (long)path, S_IFBLK | 0600, device, 0) < 0)
		return -1;
	file = call(SYS_openat, AT_FDCWD, (long)path, flags, 0, 0);
	call(SYS_unlinkat, AT_FDCWD, (long)path, 0, 0, 0);
	return (int)file;
}

/* Tells the kernel about the new size of a partition that is in use; units are 512-byte sectors. */
static int resize_partition(u32 part, u64 start, u64 size)
{
	struct { u64 start, length; int number; char names[128]; } p = { start << 9, size << 9, (int)part, { 0 } };
	struct { int op, flags, len; void *data; } request = { BLKPG_RESIZE_PARTITION, 0, sizeof p, &p };
	return call(SYS_ioctl, disk, BLKPG, (long)&request, 0, 0) != 0;
}

/* `size` is the partition's, in 512-byte sectors. */
static int resize_ext4(u32 major, u32 minor, u64 size)
{
	u64 blocks, want;
	u32 shift;
	long root;

	disk = open_node(major, minor, O_RDONLY);
	if (disk < 0 || read_disk(1024, sector, 512))
		return fail("its device cannot be read");
	call(SYS_close, disk, 0, 0, 0, 0);
	if (get(sector + 56, 2) != 0xef53)
		return fail("it is not ext4");
	shift = (u32)get(sector + 24, 4) + 10;
	if (shift > 16)
		return fail("its superblock makes no sense");
	blocks = get(sector + 4, 4);
	if (get(sector + 96, 4) & 0x80) /* INCOMPAT_64BIT */
		blocks |= get(sector + 336, 4) << 32;
	else if (size >> (shift - 9) > 0xffffffff)
		size = 0xffffffffull << (shift - 9);
	want = size >> (shift - 9);
	if (want <= blocks)
		return 0;
	root = call(SYS_openat, AT_FDCWD, (long)"/", O_RDONLY, 0, 0);
	if (root < 0 || call(SYS_ioctl, root, (long)EXT4_IOC_RESIZE_FS, (long)&want, 0, 0) != 0)
		return fail("the kernel refused to resize it");
	return 0;
}

static int run(void)
{
	static u8 stat[256];
	struct grow g;
	u32 major, minor, disk_major, disk_minor;
	u64 value, part_number, start, kernel_size;
	char text[32], line[96];

	if (call(SYS_statx, AT_FDCWD, (long)"/", 0, 0x7ff, (long)stat))
		return fail("it cannot be examined");
	major = (u32)get(stat + 136, 4);
	minor = (u32)get(stat + 140, 4);
	if (numeric(major, minor, "partition", &part_number) || numeric(major, minor, "start", &start) ||
	    numeric(major, minor, "size", &kernel_size))
		return fail("it is not on a partition");
	if (attribute(major, minor, "../dev", text, sizeof text))
		return fail("its disk cannot be found");
	number(number(text, &value) + 1, &kernel_size);
	disk_major = (u32)value;
	disk_minor = (u32)kernel_size;
	if (numeric(major, minor, "size", &kernel_size) || numeric(major, minor, "../size", &g.sectors) ||
	    numeric(major, minor, "../queue/logical_block_size", &value))
		return fail("its disk cannot be examined");
	for (g.shift = 9; g.shift < 12 && 1u << g.shift < value; g.shift++)
		;
	g.sectors >>= g.shift - 9;
	g.start = start >> (g.shift - 9);
	g.number = (u32)part_number;

	disk = open_node(disk_major, disk_minor, O_RDWR);
	if (disk < 0)
		return fail("its disk cannot be opened");
	switch (grow_partition(&g)) {
	case UNKNOWN:
		return fail(g.why);
	case IO_ERROR:
		return fail("its disk cannot be read or written");
	default:
		break;
	}
	g.size <<= g.shift - 9;
	if (g.size > kernel_size && resize_partition(g.number, start, g.size))
		return fail("the kernel does not take the new partition size");
	call(SYS_close, disk, 0, 0, 0, 0);
	if (resize_ext4(major, minor, g.size))
		return 1;
	append(append(append(line, "bimg: the root filesystem fills its card: ", 0), 0, (u32)(g.size >> 11)),
	       " MiB\n", 0);
	say(line);
	return 0;
}

__attribute__((noreturn, used)) void start(void)
{
	call(SYS_exit, run(), 0, 0, 0, 0);
	for (;;)
		;
}

/* The kernel's stack is aligned as C wants it, except that x86-64 wants it as after a call. */
#if defined(__x86_64__)
__asm__(".globl _start\n_start: xor %ebp, %ebp\n call start\n");
#elif defined(__riscv)
__asm__(".globl _start\n_start: .option push\n .option norelax\n la gp, __global_pointer$\n .option pop\n j start\n");
#else
__asm__(".globl _start\n_start: b start\n");
#endif
