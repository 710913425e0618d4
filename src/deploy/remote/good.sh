# Marks the running deployment $1 as one that works; $2 is the boot it was seen in.
[ "$(cat /proc/sys/kernel/random/boot_id)" = "$2" ] || die "the board has rebooted meanwhile"
mkdir -p "$run"
last=0
for file in "$store"/*/good; do
	[ -r "$file" ] || continue
	{ read -r _ && read -r count; } <"$file" || continue
	# What no deploy has written does not count.
	case $count in '' | 0* | *[!0-9]* | ??????????*) continue ;; esac
	[ "$count" -le "$last" ] || last=$count
done
good=$store/$1/good
if { printf '%s\n%s\n' "$2" $((last + 1)) >"$good.new"; } 2>"$run/error" && sync; then
	mv "$good.new" "$good" && sync
else
	die "cannot write $good: $(tail -n 1 "$run/error")"
fi
rm -f "$store/$1/log"
