# Overwrites one sector of the boot filesystem in place: file $1, its 512 bytes on stdin.
mkdir -p "$run"
cat >"$run/sector"
[ "$(wc -c <"$run/sector")" = 512 ] || die "the state of the boot loader did not arrive"
boot_open rw
file=$boot_at/$1
[ -e "$file" ] || mkdir -p "${file%/*}"
dd if="$run/sector" of="$file" bs=512 count=1 conv=notrunc 2>"$run/error" ||
	die "cannot write $file: $(cat "$run/error")"
from_card
cmp -s "$run/sector" "$file" || die "$file does not keep what is written to it"
