# Takes a deployment's boot files: a packed tar on stdin.
# $1 ID, $2 program that unpacks, $3 kernel that it shares (or empty), $4 not empty: the kernel is in place
boot_open rw
dir=$boot_at/bimg/$1.partial kernel=$boot_at/bimg/kernels/$3
mkdir -p "$dir" 2>/dev/null || die "$boot_at cannot be written"
unpack "$dir" "$2"
cd "$dir" || die "cannot enter $dir"
while IFS= read -r from && IFS= read -r to; do
	case $to in */*) mkdir -p "${to%/*}" ;; esac
	cp "$boot_at/$from" "$to" || die "cannot copy $to"
done <.copy
check .sums
rm -f .sums .copy
cd "$boot_at" || exit
if [ -n "$4" ]; then
	# Part of one, from before it was in place.
	[ -z "$3" ] || rm -rf "$dir/kernel"
elif [ -n "$3" ]; then
	mkdir -p bimg/kernels
	rm -rf "$kernel.partial"
	# One of this name is not what it should be, or it would have been taken.
	[ ! -e "$kernel" ] || mv "$kernel" "$kernel.partial"
	mv "$dir/kernel" "$kernel" || die "cannot rename $dir/kernel"
	rm -rf "$kernel.partial"
fi
# A leftover without its modules.
rm -rf "bimg/$1"
mv "$dir" "bimg/$1" || die "cannot rename $dir"
sync
