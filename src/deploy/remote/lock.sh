# Holds the board for one deploy until stdin ends, as it does when the connection is cut. $1 who
mkdir -p "$run"
lock=$run/lock
# The one before may have been killed.
if [ -r $lock/pid ] && ! kill -0 "$(cat $lock/pid)" 2>/dev/null; then
	rm -rf $lock
fi
if ! mkdir $lock 2>/dev/null; then
	echo "held $(cat $lock/since 2>/dev/null) $(cat $lock/by 2>/dev/null)"
	exit 8
fi
trap 'rm -rf $lock' EXIT
trap 'exit 9' HUP INT TERM PIPE
echo $$ >$lock/pid
# What one before us, killed, left mounted.
umount "$run/boot" 2>/dev/null || :
printf '%s\n' "$1" >$lock/by
date -u +%Y-%m-%dT%H:%M:%SZ >$lock/since
echo taken
cat >/dev/null
