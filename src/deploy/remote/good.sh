# Marks the running deployment $1 as one that works; $2 is the boot it was seen in.
[ "$(cat /proc/sys/kernel/random/boot_id)" = "$2" ] || die "the board has rebooted meanwhile"
last=0
for file in "$store"/*/good; do
	[ -r "$file" ] || continue
	{ read -r _ && read -r count; } <"$file" || continue
	[ "$count" -le "$last" ] || last=$count
done
printf '%s\n%s\n' "$2" $((last + 1)) >"$store/$1/good.new" && sync &&
	mv "$store/$1/good.new" "$store/$1/good" && sync
rm -f "$store/$1/log"
