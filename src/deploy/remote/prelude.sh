# Before each script that bimg runs on a board: POSIX shell, and no more than busybox has.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
umask 022
store=/lib/modules/.bimg
run=/run
[ -d $run ] && [ -w $run ] || run=/tmp
# Where that is on a disk, what another boot left there means nothing. Beside it is what the image itself keeps.
{ read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null
run=$run/bimg/deploy/$boot
boot_at='' boot_dev='' boot_undo='' root_undo=''

# Ends with a reason, and perhaps a hint.
die() {
	echo "$1" >&2
	[ -z "${2-}" ] || echo "hint: $2" >&2
	exit 9
}

# Whether a mount of /proc/self/mountinfo is read-only: its own options $1, and $2 that ends with its filesystem's.
read_only() {
	case ",$1,${2##* }," in *,ro,*) ;; *) return 1 ;; esac
}

# Sets boot_dev, boot_at, boot_ro: the filesystem that the boot loader reads, as partition $1 of root's disk, or
# the mounted one that has file $2. boot_at is empty while it is not mounted.
boot_find() {
	boot_dev='' boot_at='' boot_ro='' root=''
	while read -r _ _ number _ point _; do
		[ "$point" != / ] || root=$number
	done </proc/self/mountinfo
	wanted=''
	# None for a root without a block device: NFS, btrfs, UBIFS.
	disk=$(readlink -f "/sys/dev/block/$root/.." 2>/dev/null)
	for part in "$disk"/*/partition; do
		number=''
		{ read -r number <"$part"; } 2>/dev/null
		[ "$number" = "$1" ] || continue
		part=${part%/partition}
		boot_dev=/dev/${part##*/}
		read -r wanted <"$part/dev"
	done
	while read -r _ _ number top point options rest; do
		case " $rest" in
		*" - vfat "*) ;;
		*) continue ;;
		esac
		if [ -n "$wanted" ]; then
			[ "$number $top" = "$wanted /" ] || continue
		else
			[ -e "$point/$2" ] || continue
			rest=${rest#*- vfat }
			boot_dev=${rest%% *}
		fi
		boot_at=$point
		if read_only "$options" "$rest"; then boot_ro=1; else boot_ro=''; fi
	done </proc/self/mountinfo
	[ -n "$boot_at$boot_dev" ]
}

# Before the first write: the next deploy waits for the end of this script, also when its connection is gone.
writing() {
	mkdir -p "$run/writers" && : >"$run/writers/$$"
	trap boot_close EXIT
	trap 'exit 9' HUP INT TERM PIPE
}

# Mounts it, `ro` or `rw`, where it is not mounted so already; boot_close puts everything back.
boot_open() {
	writing
	[ -n "$boot_at$boot_dev" ] || boot_where
	if [ "$boot_at" = "$run/boot" ]; then
		# By another script, which may just be taking it away: not what is in use.
		exec 4<"$boot_at"
		boot_where
		boot_undo=umount
	fi
	if [ -z "$boot_at" ]; then
		mkdir -p "$run/boot" || die "cannot make $run/boot"
		# A power cut leaves FAT dirty, not broken.
		if [ "$1" = rw ] && command -v fsck.fat >/dev/null; then
			fsck.fat -a "$boot_dev" >/dev/null 2>&1
		fi
		mount -t vfat -o "$1,noatime" "$boot_dev" "$run/boot" 2>"$run/error" ||
			die "cannot mount $boot_dev: $(cat "$run/error")"
		boot_at=$run/boot
		boot_undo=umount
		exec 4<"$boot_at"
	elif [ "$1" = rw ] && [ -n "$boot_ro" ]; then
		mount -o remount,rw "$boot_at" 2>"$run/error" ||
			die "$boot_at is mounted read-only and stays so: $(tail -n 1 "$run/error")" \
				"\`mount -o remount,rw $boot_at\` on the board says more; a card may have a lock switch"
		boot_undo=${boot_undo:-ro}
	fi
}

# The same for a root filesystem that starts read-only.
root_open() {
	writing
	while read -r _ _ _ _ point options rest; do
		[ "$point" = / ] || continue
		if read_only "$options" "$rest"; then root_undo=ro; else root_undo=''; fi
	done </proc/self/mountinfo
	[ -n "$root_undo" ] || return 0
	mount -o remount,rw / 2>"$run/error" || die "/ is mounted read-only and stays so: $(tail -n 1 "$run/error")"
}

boot_close() {
	cd /
	case $boot_undo in
	umount)
		sync
		exec 4<&-
		# The last script that uses it does.
		umount "$boot_at" 2>/dev/null
		;;
	ro) mount -o remount,ro "$boot_at" ;;
	esac
	# Busy, it stays as it is until the next boot.
	[ -z "$root_undo" ] || { sync && mount -o remount,ro / 2>/dev/null; } || :
	boot_undo='' root_undo=''
	rm -f "$run/writers/$$"
}

# What was read before it is written again must come from the card.
# 1 drops the page cache, 4 keeps the kernel quiet about it.
from_card() {
	sync
	{ echo 5 >/proc/sys/vm/drop_caches; } 2>/dev/null || :
}

# Unpacks the tar on stdin below $1, packed for program $2. GNU tar takes 10 KiB at once by itself; busybox reads no options there.
# Nobody can change owners on a FAT that is mounted for somebody (`uid=`): -o leaves them.
unpack() {
	"$2" -dc | TAR_OPTIONS=--blocking-factor=1024 tar -x -o -f - -C "$1" || die "what arrived cannot be unpacked below $1"
}

# Hashes the files whose names come on stdin, each with a zero behind it, as `sha256sum` prints them: several times as fast by
# a library that knows the processor.
by_openssl() { xargs -0 openssl dgst -sha256 -r | sed 's/^\([0-9a-f]*\) \*/\1  /'; }

# The same, where there is none as well, or one that does not work.
hash_files() {
	if openssl dgst -sha256 -r /dev/null >/dev/null 2>&1; then
		by_openssl
	else
		xargs -0 sha256sum
	fi
}

# Compares files below here, as the card has them, with their hashes in file $1.
check() {
	from_card
	sed 's/^[0-9a-f]*  //' "$1" | tr '\n' '\000' | by_openssl 2>/dev/null | cmp -s - "$1" && return
	# Also says which.
	bad=$(sha256sum -c "$1" 2>&1) ||
		die "what arrived is not what was sent: $(echo "$bad" | grep -v ': OK$' | head -n 3 | tr '\n' ' ')"
}

# Size, time and inode of every file below here: tells whether somebody touched one.
stamp() {
	find modules -type f -exec stat -c '%i %s %Y %n' {} + | sort
}

# Whether a deployment names kernel $1. A script that cannot be read may.
named() {
	for script in "$boot_at"/bimg/*/*.scr; do
		[ -e "$script" ] || continue
		grep -q -a -F -e "bimg/kernels/$1/" "$script"
		[ $? = 1 ] || return 0
	done
	return 1
}
