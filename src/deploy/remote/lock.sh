# Holds the board for one deploy until stdin ends, as it does when the connection is cut. $1 who
mkdir -p "$run"
lock=$run/lock
# A cable that was pulled tells nobody: a deploy that has said nothing for half a minute is over.
silent() {
	now=$(date +%s)
	beat=$(stat -c %Y "$lock/beat" 2>/dev/null) || beat=$now
	[ $((now - beat)) -gt 30 ]
}
take() {
	if [ -r "$lock/pid" ]; then
		pid=$(cat "$lock/pid")
		if ! kill -0 "$pid" 2>/dev/null; then
			rm -rf "$lock"
		elif silent; then
			for pid in "$pid" $(ls "$run/writers" 2>/dev/null); do
				kill -9 "-$pid" 2>/dev/null
				kill -9 "$pid" 2>/dev/null
			done
			rm -rf "$lock"
		fi
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
echo $$ >"$lock/pid"
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
: >"$lock/beat"
echo taken
while read -r _; do : >"$lock/beat"; done
