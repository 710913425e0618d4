# Takes a deployment's boot files: a packed tar on stdin of `$1.partial` and, unless its kernel is in place, `kernels/$3.partial`.
# Nothing goes from one directory to another: FAT has no order in which both are written.
# $1 ID, $2 program that unpacks, $3 kernel that arrives (or empty)
boot_open rw
mkdir -p "$boot_at/bimg/$1.partial" 2>/dev/null || die "$boot_at cannot be written"
# Earlier ones would vouch for what has not arrived.
rm -f "$boot_at/bimg/$1.partial/.sums" "$boot_at/bimg/$1.partial/.copy"
unpack "$boot_at/bimg" "$2"
cd "$boot_at/bimg" || die "cannot enter $boot_at/bimg"
while IFS= read -r from && IFS= read -r to; do
	mkdir -p "${to%/*}"
	cp "$boot_at/$from" "$to" || die "cannot copy $to"
done <"$1.partial/.copy"
check "$1.partial/.sums"
rm -f "$1.partial/.sums" "$1.partial/.copy"
if [ -n "$3" ]; then
	# One of this name is not what it should be, or it would have been taken.
	if [ -e "kernels/$3" ]; then
		rm -rf "kernels/$3.old.partial"
		mv "kernels/$3" "kernels/$3.old.partial" || die "cannot rename kernels/$3"
	fi
	mv "kernels/$3.partial" "kernels/$3" || die "cannot rename kernels/$3.partial"
	sync
	rm -rf "kernels/$3.old.partial"
fi
# A leftover without its modules.
rm -rf "./$1"
mv "$1.partial" "$1" || die "cannot rename $boot_at/bimg/$1.partial"
sync
