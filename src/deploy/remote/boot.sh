# Takes a deployment's boot files: a packed tar on stdin.
# $1 ID, $2 program that unpacks, $3 directory below the boot filesystem with equal ones
boot_open rw
dir=$boot_at/bimg/$1.partial
mkdir -p "$dir" 2>/dev/null || die "$boot_at cannot be written"
unpack "$dir" "$2"
cd "$dir" || die "cannot enter $dir"
while IFS= read -r path; do
	case $path in */*) mkdir -p "${path%/*}" ;; esac
	cp "$boot_at/$3/$path" "$path" || die "cannot copy $path"
done <.copy
check .sums
rm -f .sums .copy
cd "$boot_at" || exit
# A leftover without its modules.
rm -rf "bimg/$1"
mv "$dir" "bimg/$1" || die "cannot rename $dir"
sync
