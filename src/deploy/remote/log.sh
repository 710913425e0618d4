# Why the trial of $1 failed, as far as the board knows.
if [ -s "$store/$1/log" ]; then
	echo "from the kernel of the trial:"
	tail -n 40 "$store/$1/log"
fi
for file in /sys/fs/pstore/* /var/lib/systemd/pstore/*/*; do
	[ -f "$file" ] || continue
	echo "from pstore, $file:"
	tail -n 40 "$file"
done
if command -v journalctl >/dev/null && [ -d /var/log/journal ]; then
	said=$(journalctl -q -k -b -1 -n 40 --no-pager -o short-monotonic 2>/dev/null)
	[ -z "$said" ] || printf 'from the journal of the boot before:\n%s\n' "$said"
fi
exit 0
