# Holds the board for one deploy until stdin ends, as it does when the connection is cut. $1 who
mkdir -p "$run"
lock=$run/lock
# Of other boots.
for old in "${run%/*}"/*; do [ "$old" = "$run" ] || rm -rf "$old"; done
# Seconds since boot: a board's clock may jump.
now() {
	read -r up _ </proc/uptime
	echo "${up%%.*}"
}
# A cable that was pulled tells nobody: a deploy that has said nothing for half a minute is over.
silent() {
	beat=$(cat "$lock/beat" 2>/dev/null)
	case $beat in '' | *[!0-9]*) return 1 ;; esac
	[ $(($(now) - beat)) -gt 30 ]
}
# Puts away the lock of $1, which is over: one of several who saw that does it, while it is the same lock still.
free() {
	mkdir "$lock/over.$1" 2>/dev/null || return
	if [ "$(cat "$lock/pid" 2>/dev/null)" = "$1" ]; then
		rm -rf "$lock"
	else
		rmdir "$lock/over.$1"
	fi
}
take() {
	owner=$(cat "$lock/pid" 2>/dev/null)
	if [ -z "$owner" ]; then
		:
	elif ! kill -0 "$owner" 2>/dev/null; then
		free "$owner"
	elif silent; then
		for pid in "$owner" $(ls "$run/writers" 2>/dev/null); do
			kill -9 "-$pid" 2>/dev/null
			kill -9 "$pid" 2>/dev/null
		done
		free "$owner"
	fi
	mkdir "$lock" 2>/dev/null
}
# One whose connection has just been cut needs a moment to end.
tries=0
until take; do
	if [ $((tries += 1)) -gt 3 ]; then
		echo "held $(cat "$lock/since" 2>/dev/null) $(cat "$lock/by" 2>/dev/null)"
		exit 8
	fi
	sleep 1
done
trap 'rm -rf "$lock"' EXIT
trap 'exit 9' HUP INT TERM PIPE
# At once: who finds a lock with half a number would take it away.
{ echo $$ >"$lock/pid.new" && mv "$lock/pid.new" "$lock/pid"; } || die "cannot write $lock"
printf '%s\n' "$1" >"$lock/by"
date -u +%Y-%m-%dT%H:%M:%SZ >"$lock/since"
# What a deploy whose connection broke still has running: it ends by itself, as its input has.
for writer in "$run"/writers/*; do
	[ -e "$writer" ] || continue
	tries=0
	while kill -0 "${writer##*/}" 2>/dev/null; do
		tries=$((tries + 1))
		if [ $tries -gt 60 ]; then
			echo "process ${writer##*/} of a deploy whose connection broke still runs there"
			exit 8
		fi
		sleep 1
	done
	rm -f "$writer"
done
# What one before us, killed, left mounted.
umount "$run/boot" 2>/dev/null || :
now >"$lock/beat"
echo taken
while read -r _; do now >"$lock/beat"; done
