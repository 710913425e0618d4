# Marks the running deployment $1 as one that works; $2 is the boot it was seen in.
# $3 the default until now, if it ran: a deployment or `image`
[ "$boot" = "$2" ] || die "the board has rebooted meanwhile"
root_open
last=0 latest=''
for file in "$store"/*/good; do
	[ -r "$file" ] || continue
	{ read -r _ && read -r count; } <"$file" || continue
	# What no deploy has written does not count.
	case $count in '' | 0* | *[!0-9]* | ??????????*) continue ;; esac
	[ "$count" -gt "$last" ] || continue
	last=$count
	latest=${file%/good}
done
# Puts $1, seen to work in boot $2, above all others.
above() {
	good=$store/$1/good
	last=$((last + 1))
	if { mkdir -p "$store/$1" && printf '%s\n%s\n' "$2" $last >"$good.new"; } 2>"$run/error" && sync; then
		mv "$good.new" "$good" && sync
	else
		die "cannot write $good: $(tail -n 1 "$run/error")"
	fi
}
# A rollback may have led there, past some that came later.
if [ -n "$3" ] && [ -n "$latest" ] && [ "$latest" != "$store/$3" ] && [ "$3" != "$1" ]; then
	above "$3" earlier
fi
above "$1" "$2"
rm -f "$store/$1/log"
