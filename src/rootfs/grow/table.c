/*
 * Grows one partition of an MBR or GPT to the room behind it, safe against a power cut at any point.
 *
 * MBR: one sector changes, and a sector is written whole or not at all.
 *
 * GPT: header and array lie in different sectors, and a kernel whose root is on the disk must never see one
 * without the other. So the header is switched, atomically, to an array that is already there:
 *
 *   1. backup array and backup header go to the new end of the disk;
 *   2. the primary header is written with the new values and points to the backup array;
 *   3. the primary array, which nothing refers to now, is written;
 *   4. the primary header is written again and points to it;
 *   5. the protective MBR gets the new size.
 *
 * Before 2 the old table is valid, after it the new one. A rerun finds a header that points away from
 * home (remembered in its reserved bytes) and goes on with 3. The backup of the old end is left where it is:
 * the grown partition overwrites it.
 *
 * UEFI 2.10, 5.3 "GUID Partition Table (GPT) Disk Layout".
 *
 * No libc, no division: this is compiled freestanding for the board, and with a file for a disk in the tests.
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

enum { MAX_SECTOR = 4096, MAX_ARRAY = 64 * 1024 };

/* Provided by the includer; both return 0 on success. `write_disk` is durable when it returns. */
static int read_disk(u64 offset, void *to, u32 len);
static int write_disk(u64 offset, const void *from, u32 len);

enum result {
	GROWN,       /* the table was changed */
	FULL,        /* nothing behind the partition */
	UNKNOWN,     /* no table, or not one that this program dares to change */
	IO_ERROR,
};

struct grow {
	u32 shift;        /* log2 of the sector size */
	u64 sectors;      /* of the disk */
	u32 number;       /* of the partition, from 1 */
	u64 start;        /* of the partition, in sectors; must agree with the table */
	u64 size;         /* out: of the partition, in sectors */
	const char *why;  /* out: for UNKNOWN */
};

static u8 sector[MAX_SECTOR], header[MAX_SECTOR], array[MAX_ARRAY];

static u64 get(const u8 *at, u32 bytes)
{
	u64 value = 0;
	while (bytes--)
		value = value << 8 | at[bytes];
	return value;
}

static void put(u8 *at, u32 bytes, u64 value)
{
	for (; bytes--; value >>= 8)
		*at++ = (u8)value;
}

static u32 crc32(const u8 *data, u32 len)
{
	u32 crc = ~0u;
	while (len--) {
		crc ^= *data++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static int equal(const u8 *a, const char *b, u32 len)
{
	while (len--)
		if (*a++ != (u8)*b++)
			return 0;
	return 1;
}

static enum result unknown(struct grow *g, const char *why)
{
	g->why = why;
	return UNKNOWN;
}

/* The new end (exclusive) of a partition when the room ends at `end`: on a MiB, and never less than it was. */
static u64 aligned_end(const struct grow *g, u64 old_end, u64 end)
{
	u64 mib = end >> (20 - g->shift) << (20 - g->shift);
	return mib > old_end ? mib : old_end;
}

static enum result grow_mbr(struct grow *g)
{
	u8 *entry = sector + 446 + 16 * (g->number - 1);
	u64 end = g->sectors < 0xffffffff ? g->sectors : 0xffffffff, old_end;

	if (g->number > 4)
		return unknown(g, "it is a logical partition");
	if (get(entry + 8, 4) != g->start)
		return unknown(g, "the table and the kernel disagree about where it starts");
	old_end = g->start + get(entry + 12, 4);
	for (u32 i = 0; i < 4; i++) {
		u64 other = get(sector + 446 + 16 * i + 8, 4);
		if (sector[446 + 16 * i + 4] && other > g->start && other < end)
			end = other;
	}
	end = aligned_end(g, old_end, end);
	g->size = end - g->start;
	if (end == old_end)
		return FULL;
	put(entry + 12, 4, g->size);
	/* Cylinders mean nothing here; the largest address says so. */
	put(entry + 5, 3, 0xfffffe);
	return write_disk(0, sector, 512) ? IO_ERROR : GROWN;
}

/* Writes the header buffer at `lba` as the table whose other half is at `other` and array at `at`. */
static int write_header(const struct grow *g, u64 lba, u64 other, u64 at, u64 home)
{
	put(header + 24, 8, lba);
	put(header + 32, 8, other);
	put(header + 72, 8, at);
	put(header + 92, 8, home); /* reserved; 0 when the array is at home */
	put(header + 16, 4, 0);
	put(header + 16, 4, crc32(header, (u32)get(header + 12, 4)));
	return write_disk(lba << g->shift, header, 1u << g->shift);
}

static enum result grow_gpt(struct grow *g)
{
	u32 size = 1u << g->shift, header_size, entry_size, len, count;
	u64 at, home, last, array_sectors, end, old_end, stored;
	u8 *entry;

	if (read_disk(size, header, size))
		return IO_ERROR;
	if (!equal(header, "EFI PART", 8))
		return unknown(g, "the primary GPT header is missing");
	header_size = (u32)get(header + 12, 4);
	stored = get(header + 16, 4);
	put(header + 16, 4, 0);
	if (header_size < 92 || header_size > size || crc32(header, header_size) != stored)
		return unknown(g, "the primary GPT header is damaged");
	count = (u32)get(header + 80, 4);
	entry_size = (u32)get(header + 84, 4);
	if (header_size != 92 || entry_size != 128 || count > MAX_ARRAY / 128 || g->number > count)
		return unknown(g, "its GPT has an unusual shape");
	len = count * 128;
	at = get(header + 72, 8);
	if (read_disk(at << g->shift, array, len))
		return IO_ERROR;
	if (crc32(array, len) != get(header + 88, 4))
		return unknown(g, "the primary GPT array is damaged");
	entry = array + 128 * (g->number - 1);
	if (get(entry + 32, 8) != g->start)
		return unknown(g, "the table and the kernel disagree about where it starts");

	last = g->sectors - 1;
	array_sectors = (len + size - 1) >> g->shift;
	/* An array beyond the usable sectors is the backup: a run was cut between 2 and 4. */
	home = at > get(header + 48, 8) ? get(header + 92, 8) : at;
	if (home < 2)
		return unknown(g, "its GPT has its array at the end of the disk");

	end = last - array_sectors;
	for (u32 i = 0; i < count; i++) {
		u64 other = get(array + 128 * i + 32, 8);
		if (other > g->start && other < end)
			end = other;
	}
	old_end = get(entry + 40, 8) + 1;
	end = aligned_end(g, old_end, end);
	g->size = end - g->start;
	if (at == home && end == old_end && get(header + 32, 8) == last)
		return FULL;

	put(entry + 40, 8, end - 1);
	put(header + 48, 8, last - array_sectors - 1);
	put(header + 88, 4, crc32(array, len));
	if (write_disk((last - array_sectors) << g->shift, array, len))
		return IO_ERROR;
	if (write_header(g, last, 1, last - array_sectors, 0))
		return IO_ERROR;
	if (write_header(g, 1, last, last - array_sectors, home))
		return IO_ERROR;
	if (write_disk(home << g->shift, array, len))
		return IO_ERROR;
	if (write_header(g, 1, last, home, 0))
		return IO_ERROR;
	return GROWN;
}

/* The size in the protective MBR: cosmetic, so it comes last and is put right on every run. */
static int protect(const struct grow *g, u32 entry)
{
	u64 want = g->sectors - get(sector + entry + 8, 4);
	if (want > 0xffffffff)
		want = 0xffffffff;
	if (get(sector + entry + 12, 4) == want)
		return 0;
	put(sector + entry + 12, 4, want);
	return write_disk(0, sector, 512);
}

static enum result grow_partition(struct grow *g)
{
	u32 used = 0, protective = 0;
	enum result result;

	if (read_disk(0, sector, 512))
		return IO_ERROR;
	if (sector[510] != 0x55 || sector[511] != 0xaa)
		return unknown(g, "there is no partition table");
	for (u32 entry = 446; entry < 510; entry += 16) {
		used += sector[entry + 4] != 0;
		if (sector[entry + 4] == 0xee)
			protective = entry;
	}
	if (!protective)
		return grow_mbr(g);
	result = grow_gpt(g);
	/* In a hybrid table the protective entry covers something else. */
	if ((result == GROWN || result == FULL) && used == 1 && protect(g, protective))
		return IO_ERROR;
	return result;
}
