# Takes a deployment's boot files: a gzipped tar on stdin. $1 ID, $2 directory below the boot filesystem with equal ones
boot_open rw
dir=$boot_at/bimg/$1.partial
mkdir -p "$dir" 2>/dev/null || die "$boot_at cannot be written"
gzip -dc | tar -x -f - -C "$dir" || die "what arrived cannot be unpacked below $dir"
cd "$dir" || die "cannot enter $dir"
while IFS= read -r path; do
	case $path in */*) mkdir -p "${path%/*}" ;; esac
	cp "$boot_at/$2/$path" "$path" || die "cannot copy $path"
done <.copy
from_card
sha256sum -c .sums >"$run/checked" 2>&1 ||
	die "what arrived is not what was sent: $(grep -v ': OK$' "$run/checked" | head -n 3 | tr '\n' ' ')"
rm -f .sums .copy
cd "$boot_at" || exit
# A leftover without its modules.
rm -rf "bimg/$1"
mv "$dir" "bimg/$1" || die "cannot rename $dir"
sync
